"""What the keys of the table do: each part is an object that is handed what it needs."""

"""A run in the formats of others: tables (csv, parquet), TensorBoard, pictures (svg) and a page (html)."""

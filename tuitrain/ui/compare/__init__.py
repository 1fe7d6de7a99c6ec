"""Runs side by side on the screen: a table that is sorted and filtered, and below it the chosen ones."""

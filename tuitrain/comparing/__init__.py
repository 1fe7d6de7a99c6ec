"""Runs side by side: what each came to, where they differ, their curves and samples. Reads journals, steers nothing."""

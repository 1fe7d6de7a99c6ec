"""Several processes of one run: which one this is, and how rank 0 announces to the others what comes next."""

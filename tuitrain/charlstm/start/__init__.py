"""The five stages from what a person typed to the first step, in the order in which prepare.py runs them."""

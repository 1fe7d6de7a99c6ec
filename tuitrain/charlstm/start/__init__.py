"""The five stations between what a person typed and the first step; prepare.py goes through them in their order."""

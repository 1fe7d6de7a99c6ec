"""The actions of the keys, grouped in objects that are given what they need."""

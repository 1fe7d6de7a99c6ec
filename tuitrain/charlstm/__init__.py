"""The char-LSTM: text, model, what is measured on it, how a run of it is prepared. The engine's first tenant."""

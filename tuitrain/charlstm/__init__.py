"""The char-LSTM: text, model, measurements, and the preparation of a run. One of the models that the engine trains."""

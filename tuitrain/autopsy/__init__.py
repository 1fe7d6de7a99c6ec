"""Old checkpoints, whoever wrote them: read, mapped onto our model, examined, and told where training broke."""

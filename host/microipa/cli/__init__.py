"""The `microipa` command: one module a group of verbs."""

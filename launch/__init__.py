"""Launching: TorchX components, and the controller that runs one job per day and one per retrained model. No torch here."""

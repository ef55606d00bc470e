"""Trained models in the form that serves them."""

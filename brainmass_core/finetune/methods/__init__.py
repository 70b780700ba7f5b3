"""What is compared: features, estimators and networks, and how each is fitted in a fold."""

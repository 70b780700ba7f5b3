"""Methods: features, estimators and networks, and how they are fitted in a fold."""

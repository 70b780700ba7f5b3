"""Former name of `predict.compatibility`, which tests/fuzz still imports."""

from brainmass_core.predict.compatibility import PredictError

__all__ = ["PredictError"]

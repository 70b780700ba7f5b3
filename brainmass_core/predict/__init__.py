"""Models of tasks for new scans: stored without pickles, applied to compatible input."""

from brainmass_core.predict.contract import Contract, ContractError
from brainmass_core.predict.deploy import deploy
from brainmass_core.predict.model import Model
from brainmass_core.predict.stage import Options, PredictError, predict

__all__ = ["Contract", "ContractError", "Model", "Options", "PredictError", "deploy", "predict"]

"""The encoders (foundation models): one record each, looked up by name.

Below the configuration, which reads them: the records (`record`, and ``record`` in the folder of
each encoder), features, estimators and methods (`methods`), and how all of these are found by name
(`registry`). Above it: what an encoder does (`interface`, and the rest of its folder); that imports
torch. The other packages read the record and what it names; none of them names an encoder.
"""

from brainmass_core.encoders.record import Encoder, Network, Pages
from brainmass_core.encoders.registry import encoder_of, encoders, register

__all__ = ["Encoder", "Network", "Pages", "encoder_of", "encoders", "register"]

"""Serialise fitted estimators to JSON and arrays, and read them without executing code.

An estimator is written as the name of its class and the values of its attributes. Only classes in
`CLASSES` and functions in `FUNCTIONS` can be named, nothing is imported by name, and a value is a
number, a text, an array of numbers, or a list or mapping of these. Everything else in a file is
refused. So a model from an untrusted source is only data, unlike a pickle.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from nilearn.connectome import ConnectivityMeasure
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    LabelBinarizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    StandardScaler,
)
from sklearn.svm import SVC, SVR

from brainmass_core.encoders.interface import implementation_of
from brainmass_core.encoders.registry import encoders
from brainmass_core.finetune.adjustment import ComBat, Regress, Unchanged
from brainmass_core.finetune.methods.components import Components
from brainmass_core.finetune.methods.estimators import TransformedTarget
from brainmass_core.finetune.methods.networks import BrainNetCNN, BrainNetworkTransformer
from brainmass_core.finetune.methods.neural import NetworkClassifier, NetworkRegressor
from brainmass_core.finetune.methods.series_networks import SeriesClassifier, SeriesRegressor
from brainmass_core.finetune.methods.tangent import TangentSpace, _Given
from brainmass_core.models.weights import (
    check_finite,
    check_sizes,
    check_tensors,
    of_tensors,
    skeleton,
)
from brainmass_core.predict.primal import LinearClassifier, LinearRegressor, primal
from brainmass_core.readers.limits import quoted

Arrays = dict[str, np.ndarray]
NETWORKS = (NetworkClassifier, NetworkRegressor)  # and their subclasses for series
RECIPES = (BrainNetCNN, BrainNetworkTransformer)  # and those of encoders
CLASSES: dict[str, type] = {
    c.__name__: c
    for c in (
        *(Pipeline, StandardScaler, MinMaxScaler, MaxAbsScaler, FunctionTransformer),
        *(SVC, SVR, LinearClassifier, LinearRegressor, LogisticRegression),
        *(Ridge, RidgeClassifier, LabelBinarizer, KNeighborsClassifier, KNeighborsRegressor),
        *(TransformedTarget, TransformedTargetRegressor, TangentSpace, ConnectivityMeasure, _Given),
        *(Components, PCA),
        *(Regress, ComBat, LinearRegression, ColumnTransformer, OneHotEncoder, SimpleImputer),
        *(*NETWORKS, SeriesClassifier, SeriesRegressor),
    )
}
FUNCTIONS: dict[str, Callable] = {"clip": np.clip, "log1p": np.log1p, "expm1": np.expm1}
# not needed for prediction, or rebuilt: held-out rows, and the last training scan (`_Given`)
OF_TRAINING = frozenset({"recipe", "network_", "validation_", "history_"})
LEFT_OUT = {
    "_Given": frozenset({"covariance_"}),
    "NetworkClassifier": OF_TRAINING,
    "NetworkRegressor": OF_TRAINING,
    "SeriesClassifier": OF_TRAINING,
    "SeriesRegressor": OF_TRAINING,
}


class SerializationError(ValueError):
    """A value cannot be stored, or a stored value is invalid."""


def storable(model: Any) -> Any:
    """A copy of a fitted estimator with only what prediction needs.

    A search is replaced by its best estimator, a linear SVM by its weights, and the encoder of a
    pre-trained folder by its architecture. The given estimator is not changed.
    """
    if isinstance(model, GridSearchCV):
        return storable(model.best_estimator_)
    if isinstance(model, Unchanged):
        return None
    if isinstance(model, SVC | SVR) and callable(model.kernel):
        return primal(model)
    model = copy.copy(model)
    if isinstance(model, Pipeline):
        model.steps = [(name, storable(step)) for name, step in model.steps]
    elif isinstance(model, TransformedTarget | TransformedTargetRegressor):
        model.regressor_ = storable(model.regressor_)
        model.regressor = model.transformer = None
    elif isinstance(model, NETWORKS):
        model.recipe = cast(Any, model.recipe).stored(model.network_)
    return model


def encode(value: Any, arrays: Arrays, place: str = "model") -> Any:
    """Convert a value to JSON; arrays are added to `arrays`, named by their location.

    Raises
    ------
    SerializationError
        If it contains something that is not allowed.
    """
    if value is None or isinstance(value, bool | str) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, np.generic) and value.dtype.kind in "fiub":
        inner = encode(value.item(), arrays, place)
        return {"scalar": inner, "of": str(value.dtype)}
    if isinstance(value, np.ndarray):
        return _encode_array(value, arrays, place)
    if isinstance(value, list | tuple):
        items = [encode(v, arrays, f"{place}.{i}") for i, v in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict):
        pairs = enumerate(value.items())
        return {
            "dict": [[encode(k, arrays), encode(v, arrays, f"{place}.{i}")] for i, (k, v) in pairs]
        }
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        kind = "dtype" if isinstance(value, np.dtype) else "type"
        return {kind: np.dtype(value).name}
    for name, function in FUNCTIONS.items():
        if value is function:
            return {"function": name}
    return _encode_object(value, arrays, place)


def _encode_array(value: np.ndarray, arrays: Arrays, place: str) -> Any:
    if value.dtype.kind in "OU":
        if not all(isinstance(v, str) for v in value.ravel()) or value.ndim != 1:
            raise SerializationError(
                f"{place}: found an array of objects, expected one of numbers or text"
            )
        return {"texts": value.tolist(), "as_objects": value.dtype.kind == "O"}
    if value.dtype.kind not in "fiub":
        raise SerializationError(f"{place}: found an array of {value.dtype}, expected numbers")
    arrays[place] = np.ascontiguousarray(value).reshape(value.shape)
    # products of arrays with another memory order can differ in the last digit
    fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    return {"array": place, "order": "F" if fortran else "C"}


def _encode_object(value: Any, arrays: Arrays, place: str) -> Any:
    name = type(value).__name__
    if CLASSES.get(name) is not type(value):
        raise SerializationError(
            f"{place}: a {type(value).__module__}.{name} cannot be stored safely; there are "
            f"{sorted(CLASSES)}"
        )
    left_out = LEFT_OUT.get(name, frozenset())
    state = {k: v for k, v in vars(value).items() if k not in left_out}
    if not all(map(str.isidentifier, state)):
        raise SerializationError(
            f"{place}: {name} has attributes that are not names: {sorted(state)}"
        )
    made = {k: encode(v, arrays, f"{place}.{k}") for k, v in state.items()}
    node: dict[str, Any] = {"class": name, "state": made}
    if isinstance(value, NETWORKS):
        recipe = dataclasses.asdict(cast(Any, value.recipe))
        node["recipe"] = {"name": type(value.recipe).__name__, **recipe}
        node["weights"] = f"{place}.network."
        for key, tensor in value.network_.state_dict().items():
            arrays[f"{place}.network.{key}"] = tensor.cpu().numpy()
    return node


def decode(node: Any, arrays: Arrays) -> Any:
    """Inverse of `encode`.

    Raises
    ------
    SerializationError
        If the node names an unknown class, function or array.
    """
    if node is None or isinstance(node, bool | str | int | float):
        return node
    if isinstance(node, list):
        return [decode(v, arrays) for v in node]
    if not isinstance(node, dict):
        raise SerializationError(f"found {type(node).__name__}, expected JSON")
    if "class" in node:
        return _decode_object(node, arrays)
    tag = next((t for t in DECODERS if t in node), None)
    if tag is None:
        raise SerializationError(
            f"found {quoted(sorted(node))}, expected one of {sorted([*DECODERS, 'class'])}"
        )
    try:
        return DECODERS[tag](node, arrays)
    except SerializationError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SerializationError(
            f"a damaged {tag}: {type(error).__name__}: {quoted(str(error))}"
        ) from None


def _array(node: dict, arrays: Arrays) -> np.ndarray:
    if node["array"] not in arrays:
        raise SerializationError(f"the array {quoted(node['array'])} is missing")
    found = arrays[node["array"]]
    return np.asfortranarray(found) if node.get("order") == "F" else found


def _function(node: dict, arrays: Arrays) -> Callable:
    if node["function"] not in FUNCTIONS:
        raise SerializationError(
            f"the function {quoted(node['function'])} is not one of {sorted(FUNCTIONS)}"
        )
    return FUNCTIONS[node["function"]]


def _number_type(name: str) -> np.dtype:
    dtype = np.dtype(name)
    if dtype.kind not in "fiubOU":
        raise SerializationError(f"found the type {quoted(name)}, expected one of numbers or text")
    return dtype


DECODERS: dict[str, Callable[[dict, Arrays], Any]] = {
    "float": lambda n, a: float(n["float"]),
    "scalar": lambda n, a: _number_type(n["of"]).type(decode(n["scalar"], a)),
    "array": _array,
    "texts": lambda n, a: np.array(n["texts"], dtype=object if n["as_objects"] else str),
    "tuple": lambda n, a: tuple(decode(v, a) for v in n["tuple"]),
    "dict": lambda n, a: {decode(k, a): decode(v, a) for k, v in n["dict"]},
    "slice": lambda n, a: slice(*n["slice"]),
    "dtype": lambda n, a: _number_type(n["dtype"]),
    "type": lambda n, a: _number_type(n["type"]).type,
    "function": _function,
}


def _decode_object(node: dict, arrays: Arrays) -> Any:
    name, state = node["class"], node.get("state")
    if name not in CLASSES:
        raise SerializationError(f"the class {quoted(name)} is not one of {sorted(CLASSES)}")
    if not isinstance(state, dict) or not all(map(str.isidentifier, state)):
        raise SerializationError(f"{quoted(name)}: its state is not a mapping of attributes")
    cls: Any = CLASSES[name]
    made = cls.__new__(cls)
    vars(made).update({key: decode(value, arrays) for key, value in state.items()})
    if isinstance(made, NETWORKS):
        _add_network(made, node, arrays)
    return made


def _add_network(made: Any, node: dict, arrays: Arrays) -> None:
    """Rebuild the network and load its weights."""
    recipes = _recipes()
    settings = dict(node.get("recipe", {}))
    recipe: Any = recipes.get(settings.pop("name", ""))
    if recipe is None or settings.get("folder"):
        raise SerializationError(f"a network without a known recipe; there are {sorted(recipes)}")
    prefix = str(node.get("weights"))
    try:
        made.recipe = recipe(**settings)
        weights = {
            k.removeprefix(prefix): torch.from_numpy(v.copy())
            for k, v in arrays.items()
            if k.startswith(prefix)
        }
        shape = made._n_rois(made.n_features_in_), made._n_out()
        _check_network(made.recipe, settings, shape, weights)
        with torch.random.fork_rng():
            network = made.recipe.build(*shape)
        network.load_state_dict(weights)
    except (TypeError, ValueError, RuntimeError, AttributeError, KeyError) as error:
        raise SerializationError(f"a network that does not match its weights: {error}") from None
    made.network_ = network.eval()


def _check_network(
    recipe: Any, settings: dict[str, Any], shape: tuple[int, int], weights: dict[str, torch.Tensor]
) -> None:
    """Refuse an architecture that does not match the weights, before it is built.

    Raises
    ------
    ModelError
        Naming the field or tensor.
    """
    found = of_tensors(weights)
    n_rois = {"n_rois": shape[0]} if shape[0] else {}  # networks of series accept any number
    check_sizes("network", n_rois | {"outputs": shape[1]}, found)
    for name, value in settings.items():
        sizes = value if isinstance(value, dict) else {name: value}
        check_sizes("network", {k: v for k, v in sizes.items() if type(v) is int and v}, found)
    expected = of_tensors(skeleton("network", lambda: recipe.build(*shape)).state_dict())
    check_tensors("network", found, expected)
    check_finite("network", weights)


def _recipes() -> dict[str, type]:
    """Recipes that a stored network may use."""
    brought = (
        recipe for encoder in encoders() for recipe in implementation_of(encoder).stored_recipes
    )
    return {recipe.__name__: recipe for recipe in (*RECIPES, *brought)}

"""Files of arrays and plain values: safetensors, whose metadata is one JSON text.

Reading such a file runs no code of its own: JSON gives values, safetensors gives
arrays, and what is made of them is decided here. A SHA-256 of the whole file tells
damage from data.
"""

import hashlib
import json
import math
import os
import re
import secrets
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as tensors_to_bytes

FORMAT = 1
# What can go wrong with content that has a right checksum all the same.
MALFORMED = (
    SafetensorError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
)
# A quote within the JSON text is escaped, so that no value can look like this.
_CHECKSUM = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_NO_CHECKSUM = b'"sha256":"' + 64 * b"0" + b'"'


class NotStorable(TypeError):
    """A value that is neither plain nor an array."""


def write(path, kind, version, content):
    """Write a file in one step: whoever is killed leaves the old one, or the new.

    Parameters
    ----------
    path : str or path-like
    kind : str
        What the content is; ``read`` asks for it.
    version : str
        Version of the library, for messages.
    content : object
        None, bool, numbers, str, arrays, tensors, devices, and lists, tuples and
        dicts of them.

    Raises
    ------
    NotStorable
        If there is anything else in the content.
    """
    tensors = {}
    text = json.dumps(
        {
            "format": FORMAT,
            "version": version,
            "kind": kind,
            "content": pack(content, tensors),
        },
        allow_nan=False,
    )
    data = tensors_to_bytes(tensors, {"deepcluster_sk": text, "sha256": 64 * "0"})
    digest = hashlib.sha256(data).hexdigest().encode()
    data = data.replace(_NO_CHECKSUM, b'"sha256":"' + digest + b'"', 1)
    path = Path(path)
    # In the same folder: only within a file system is a replacement one step.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path, kind):
    """Content of a file that ``write`` made.

    Parameters
    ----------
    path : str or path-like
    kind : str
        What must be in it.

    Returns
    -------
    content : object

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is damaged, of another kind, or of a later format.
    """
    data = Path(path).read_bytes()
    found = _CHECKSUM.search(data)
    if found is None:
        raise ValueError(
            f"{path} is damaged, or no file of deepcluster_sk: it has no checksum."
        )
    blank = data[: found.start()] + _NO_CHECKSUM + data[found.end() :]
    if hashlib.sha256(blank).hexdigest().encode() != found[1]:
        raise ValueError(
            f"{path} is damaged: its content does not have the checksum that was "
            "written with it. It was changed or cut off."
        )
    try:
        length = int.from_bytes(data[:8], "little")
        text = json.loads(data[8 : 8 + length])["__metadata__"]["deepcluster_sk"]
        header = json.loads(text)
        form, version, found = header["format"], header["version"], header["kind"]
        tensors = read_tensors(data)
    except MALFORMED as error:
        raise ValueError(
            f"{path} is damaged, or no file of deepcluster_sk: {error}"
        ) from error
    if form != FORMAT:
        raise ValueError(
            f"{path} has format {form}, written by deepcluster_sk {version}; this "
            f"version reads format {FORMAT}. Load it with that version."
        )
    if found != kind:
        raise ValueError(f"{path} holds {found}, not {kind}.")
    try:
        return unpack(header["content"], tensors)
    except MALFORMED as error:
        raise ValueError(f"{path} holds what cannot be read: {error}") from error


def pack(value, tensors, name="content"):
    """JSON for a value; its arrays go to ``tensors``.

    A JSON object is always a tag with what it applies to. Arrays keep the order of
    their axes in memory: matrix products may round differently in another.
    """
    if isinstance(value, np.generic):
        if value.dtype.kind in "biufU" and value.dtype != np.longdouble:
            return {"scalar": [value.dtype.str, pack(value.item(), tensors)]}
    elif value is None or type(value) in (bool, int, str):
        return value
    elif type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    elif isinstance(value, torch.device):
        return {"device": str(value)}
    elif type(value) in (list, tuple):
        parts = [pack(v, tensors, f"{name}/{i}") for i, v in enumerate(value)]
        return {"tuple": parts} if isinstance(value, tuple) else parts
    elif type(value) in (dict, OrderedDict):
        return {
            "dict": [
                [pack(k, tensors), pack(v, tensors, f"{name}/{k}")]
                for k, v in value.items()
            ]
        }
    elif isinstance(value, torch.Tensor):
        return {"tensor": [*_store(value, tensors, name), str(value.device)]}
    elif isinstance(value, np.ndarray):
        return _pack_array(value, tensors, name)
    raise NotStorable(f"a {type(value).__qualname__} is not plain data")


def _pack_array(value, tensors, name):
    if value.dtype.kind in "biuf" and value.dtype.isnative:
        if value.dtype != np.longdouble:
            copy = torch.from_numpy(np.array(value, order="K", copy=True))
            return {"array": _store(copy, tensors, name)}
    elif value.dtype.kind in "OU" and all(isinstance(v, str) for v in value.flat):
        texts = [str(v) for v in value.flat]
        return {"texts": [value.dtype.str, list(value.shape), texts]}
    raise NotStorable(f"an array of dtype {value.dtype} is not plain data")


def _store(tensor, tensors, name):
    """Name and axes, outermost in memory first, of a tensor that is stored."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        raise NotStorable(f"a tensor of layout {tensor.layout}, {tensor.dtype}")
    # A clone shares memory with no other tensor, which safetensors would refuse.
    tensor = tensor.detach().cpu().clone()
    axes = sorted(range(tensor.ndim), key=lambda axis: -tensor.stride(axis))
    while name in tensors:
        name += "'"
    tensors[name] = tensor.permute(axes).contiguous()
    return [name, axes]


def _fetch(stored, tensors):
    name, axes = stored
    return tensors[name].permute([axes.index(i) for i in range(len(axes))])


def unpack(value, tensors):
    """Inverse of ``pack``."""
    if isinstance(value, list):
        return [unpack(part, tensors) for part in value]
    if not isinstance(value, dict):
        return value
    ((tag, stored),) = value.items()
    if tag == "scalar":
        return np.dtype(stored[0]).type(unpack(stored[1], tensors))
    if tag == "float":
        return float(stored)
    if tag == "device":
        return torch.device(stored)
    if tag == "tuple":
        return tuple(unpack(stored, tensors))
    if tag == "dict":
        return {unpack(k, tensors): unpack(v, tensors) for k, v in stored}
    if tag == "tensor":
        return _fetch(stored[:2], tensors).to(stored[2])
    if tag == "array":
        return _fetch(stored, tensors).numpy()
    if tag == "texts":
        dtype, shape, texts = stored
        return np.array(texts, dtype=dtype).reshape(shape)
    raise ValueError(f"unknown tag {tag!r}")

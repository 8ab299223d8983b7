"""Schemas of the bodies by which admins manage models."""

from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field


class UseModelBody(BaseModel):
    """`tasks`: it becomes the default for these; empty: for all it supports. `force`: even if it may not fit.
    `weights` ("auto", "none", "8bit", "4bit", "fp8") and `precision` ("auto", "float32", "float16", "bfloat16"): its
    number formats from now on; empty: as they are. `adapter`: only switch to this adapter of the installed model, or to
    none ("none"), from the next request on."""

    model_config = ConfigDict(extra="forbid")

    adapter: str = ""
    tasks: list[str] = []
    accept_licence: bool = False
    force: bool = Field(False, validation_alias=AliasChoices("force", "anyway"))
    download_only: bool = Field(False, validation_alias=AliasChoices("download_only", "only_fetch"))
    weights: str = ""
    precision: str = ""


class OptimizeModelBody(BaseModel):
    """`backend`: "torch" goes back. Empty `weights` and `precision`: those of the model. `switch`: to the build, if it
    is better."""

    model_config = ConfigDict(extra="forbid")

    backend: str = "openvino"
    weights: str = ""
    precision: str = ""
    switch: bool = False


class ScanModelsBody(BaseModel):
    """`folder`: on the server's machine."""

    model_config = ConfigDict(extra="forbid")

    folder: str


class AddModelBody(BaseModel):
    """`source`: `org/name`, a link to Civitai, or a folder or file on the server's machine."""

    model_config = ConfigDict(extra="forbid")

    source: str
    name: str = ""
    file: str = ""
    base_model: str = ""
    weights: Literal["auto", "none", "8bit", "4bit", "fp8"] = "auto"

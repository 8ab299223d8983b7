"""Schemas of the REST bodies about plugins."""

from pydantic import BaseModel, ConfigDict, Field


class PluginBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    enabled: bool = Field(description="Whether the plugin is on, now and after every start")


class TextAnswerInfo(BaseModel):
    text: str = Field(description="The answer of a plugin's command that makes no job")

"""OpenAPI schemas of corrections."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class CorrectionBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: str = Field(description="What the caption or the answer should have been, 1 to 500 characters")
    consent: bool = Field(
        False, description="true: it may be used, with its image, to train this server's models, until it is withdrawn"
    )


class CorrectionInfo(BaseModel):
    text: str
    consent: bool
    created_at: datetime
    consented_at: datetime | None
    withdrawn_at: datetime | None = Field(description="When consent was withdrawn; null: it was not, or never given")


class SavedCorrection(CorrectionInfo):
    retired_adapters: list[str] = Field(
        description="Adapters that learned from what is no longer consented to, and are switched off"
    )
    note: str = Field(description="The same as a sentence; empty: there are none")

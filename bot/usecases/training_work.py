"""The work folders of trainings: the order, copies of examples, checkpoints, and the finished adapter. Blocking."""

import contextlib
import json
import shutil
from collections.abc import Collection, Container
from dataclasses import asdict, dataclass
from pathlib import Path

from bot.errors import NotFound
from bot.runtime.private_files import make_private_folder
from bot.usecases.training_folders import CORRECTIONS, EXAMPLES, disk_refusal
from bot.usecases.training_orders import TrainingOrder

ADAPTERS, WORK = "adapters", "training"
"""Folders of the data directory: of finished adapters, and of trainings that run."""
_ORDER_FILE, _OUTPUT = "order.json", "output"


@dataclass(frozen=True)
class TrainingWork:
    data_dir: Path

    def folder(self, name: str) -> Path:
        return self.data_dir / WORK / name

    def output(self, name: str) -> Path:
        """Where the adapter is written before its test decides."""
        return self.folder(name) / _OUTPUT

    def save_order(self, name: str, order: TrainingOrder) -> None:
        """Raises: TrainingRefused: the disk is full or read-only."""
        try:
            make_private_folder(self.folder(name))
            (self.folder(name) / _ORDER_FILE).write_text(json.dumps(asdict(order)), encoding="utf-8")
        except OSError as error:
            raise disk_refusal(error, self.folder(name)) from error

    def list_orders(self) -> list[tuple[str, TrainingOrder]]:
        """Of trainings that were interrupted, by name."""
        orders = []
        for path in sorted((self.data_dir / WORK).glob(f"*/{_ORDER_FILE}")):
            with contextlib.suppress(OSError, ValueError, TypeError):
                orders.append((path.parent.name, TrainingOrder(**json.loads(path.read_text("utf-8")))))
        return orders

    def drop_order(self, name: str) -> None:
        """It is not resumed by itself; its checkpoint stays."""
        with contextlib.suppress(OSError):
            (self.folder(name) / _ORDER_FILE).unlink(missing_ok=True)

    def keep_output(self, name: str) -> None:
        """Move the adapter to the others, in place of one of the same name. Raises: TrainingRefused."""
        target = self.data_dir / ADAPTERS / name
        try:
            make_private_folder(target.parent)
            if target.exists():
                target.rename(self.folder(name) / "replaced")
            self.output(name).rename(target)
        except OSError as error:
            raise disk_refusal(error, target) from error

    def read_sample(self, name: str, path: str) -> bytes:
        """`path`: relative to the adapter's folder. Raises: NotFound."""
        folder = (self.data_dir / ADAPTERS / name).resolve()
        try:
            if not (folder / path).resolve().is_relative_to(folder):
                raise NotFound("picture", name)
            return (folder / path).read_bytes()
        except OSError as error:
            raise NotFound("picture", name) from error

    def drop_words(self, name: str) -> None:
        """The report card in an adapter's folder keeps no examples: one of them was withdrawn."""
        path = self.data_dir / ADAPTERS / name / "report.json"
        with contextlib.suppress(OSError, ValueError):
            report = json.loads(path.read_text("utf-8"))
            path.write_text(json.dumps({**report, "examples": []}, indent=2) + "\n", encoding="utf-8")

    def delete(self, name: str) -> None:
        shutil.rmtree(self.folder(name), ignore_errors=True)

    def delete_with(self, corrections: Collection[str], running: Container[str]) -> None:
        """What is left of trainings that have copies of these corrections, except of those that run."""
        for listing in (self.data_dir / WORK).glob(f"*/{EXAMPLES}/{CORRECTIONS}"):
            name = listing.parent.parent.name
            with contextlib.suppress(OSError, ValueError):
                has_copies = set(json.loads(listing.read_text("utf-8")).values()) & set(corrections)
                if has_copies and name not in running:
                    self.delete(name)

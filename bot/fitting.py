from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Hardware:
    devices: tuple
    ram_mb: int
    free_ram_mb: int
    disk_free_mb: int


@dataclass(frozen=True, kw_only=True)
class Fit:
    place: str
    seconds: float
    lacks: str = ""


def fit(spec, hardware):
    if spec.ram_mb > hardware.ram_mb:
        return Fit(place="no", seconds=0, lacks=f"{spec.ram_mb} MB of memory")
    return Fit(place="cpu", seconds=1.0)

"""A connector for the tests of the command: it needs no publisher."""

from __future__ import annotations

import os

from sdk import Choice, Connector, Model, Receipt, Row, Secret, Text, UpstreamUnavailable, create, get


class Settings(Model):
    password: Secret
    broken: bool = False


class Seed(Model):
    name: str


class Garden(Connector[Settings]):
    """Un jardin, sans logiciel métier."""

    name, title, category = "garden", "Jardin", "Tests"

    async def check(self) -> None:
        if self.settings.broken:
            raise UpstreamUnavailable(Text("le jardin est fermé", en="the garden is closed"))

    @get
    async def flowers(self) -> list[Choice]:
        """Les fleurs."""
        return [Choice(id="1", text="Pâquerette"), Choice(id="2", text="Rose")]

    @get
    async def process(self) -> Row:
        """Le processus qui répond."""
        return Row(pid=os.getpid())

    @create("seeds", delivery="at-least-once")
    async def sow(self, seed: Seed) -> Receipt:
        """Semer."""
        return Receipt(id=f"S-{len(seed.name)}")

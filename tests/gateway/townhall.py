"""Connectors for the tests of starting: what happens when an instance is made."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from sdk import Connector, Http, Model, Row, Soap, get


class Settings(Model):
    journal: Path | None = None
    wsdl: Path | None = None


class Townhall(Connector[Settings]):
    """Écrit dans quel processus ses instances sont faites."""

    name, title, category = "townhall", "Mairie", "Tests"

    def __init__(self, settings: Settings, http: Http) -> None:
        super().__init__(settings, http)
        self.made_by = os.getpid()
        if settings.wsdl is not None:
            self.soap = Soap(http, wsdl=settings.wsdl, address="http://127.0.0.1:1/")
        if settings.journal is not None:
            with settings.journal.open("a") as journal:
                journal.write(f"{os.getpid()}\n")

    @get
    async def process(self) -> Row:
        """Le processus qui répond, et celui où l'instance a été faite."""
        return Row(pid=os.getpid(), made_by=self.made_by)


class Hasty(Connector[Settings]):
    """Commence un travail avant qu'on le lui demande."""

    name, title, category = "hasty", "Pressé", "Tests"

    def __init__(self, settings: Settings, http: Http) -> None:
        super().__init__(settings, http)
        self.task = asyncio.get_running_loop().create_task(asyncio.sleep(0))

    @get
    async def process(self) -> Row:
        """Rien."""
        return Row()

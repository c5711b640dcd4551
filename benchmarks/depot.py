"""The connector that receives files: an effect, so that its requests are journaled."""

from __future__ import annotations

from sdk import MEGABYTE, Connector, File, Model, Receipt, create


class Settings(Model):
    pass


class Deposit(Model):
    file: File


class Depot(Connector[Settings]):
    """Receives a file and says how large it was."""

    name, title, category = "depot", "Dépôt", "Mesures"

    @create("deposits", delivery="at-least-once", max_body=100 * MEGABYTE)
    async def deposit(self, deposit: Deposit) -> Receipt:
        """Takes it."""
        return Receipt(id=str(deposit.file.size))

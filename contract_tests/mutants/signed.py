"""Mutants of signed calls."""

from __future__ import annotations

from contract_tests.reference import Reference

from . import mutant

# --- signed calls -----------------------------------------------------------------------------------------------------


@mutant("signature-in-hexadecimal", "PUB-SIGN-1")
class Hexadecimal(Reference):
    """Expects the signature in hexadecimal."""

    def matches(self, query: str, given: str) -> bool:
        return False


@mutant("signature-not-verified", "PUB-SIGN-3", "PUB-SIGN-4")
class NotVerified(Reference):
    """Any signature is good."""

    def matches(self, query: str, given: str) -> bool:
        return True


@mutant("identity-not-signed", "PUB-SIGN-4")
class IdentityNotSigned(Reference):
    """Verifies with the NameID it remembers from its session, not with the one received."""

    def matches(self, query: str, given: str) -> bool:
        return super().matches(query, given) or super().matches(query.replace("NameID=b", "NameID=a"), given)


@mutant("parameters-after-the-signature", "PUB-SIGN-5")
class AfterTheSignature(Reference):
    """What follows the signature is accepted."""

    def last(self, given: str) -> bool:
        return True


@mutant("old-calls", "PUB-SIGN-6")
class OldCalls(Reference):
    """A timestamp of the past is always good."""

    def timely(self, params: dict[str, str]) -> bool:
        return self.late(params) >= -30


@mutant("calls-of-the-future", "PUB-SIGN-7")
class FutureCalls(Reference):
    """A timestamp of the future is always good."""

    def timely(self, params: dict[str, str]) -> bool:
        return self.late(params) <= 30


@mutant("five-seconds", "PUB-SIGN-8")
class FiveSeconds(Reference):
    """Tolerates five seconds only."""

    def timely(self, params: dict[str, str]) -> bool:
        return abs(self.late(params)) <= 5


@mutant("nonce-replayed", "PUB-SIGN-9")
class NonceReplayed(Reference):
    """Nonces are not remembered."""

    def new(self, params: dict[str, str]) -> bool:
        return True


@mutant("any-caller", "PUB-SIGN-10")
class AnyCaller(Reference):
    """The caller's name is not looked up."""

    def caller(self, params: dict[str, str]) -> bool:
        return True


@mutant("any-algorithm", "PUB-SIGN-11")
class AnyAlgorithm(Reference):
    """algo is not read."""

    def algorithm(self, params: dict[str, str]) -> bool:
        return True

from __future__ import annotations

import re
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadSettings
from gateway.settings import GatewaySettings, load, validate_settings
from gateway.toml_lines import line_of, lines_of
from sdk.errors import english
from sdk.model import HttpUrl, Model, Secret

WHOLE = """
[gateway]
listen = "0.0.0.0:8080"
admin_listen = "127.0.0.1:9090"
data = "data"
deadline = 20
workers = 2
log_level = "debug"
trusted_proxies = ["192.0.2.1"]
max_in_flight = 10
max_body = "20MB"

[egress]
private = ["10.0.0.0/8", "fd00::/8"]

[clients.wcs]
basic = { username = "wcs", password = { env = "WCS_PASSWORD" } }
ip = ["192.0.2.0/24"]
rights = ["payfip/*/*", "tabular/rennes-*/data"]

[clients.portal]
rights = []
[clients.portal.signature]
orig = "demarches.example.org"
key = { file = "secrets/key" }

[instances.payfip.demo]
title = "Paiement"
availability_every = 60

[instances.payfip.demo.settings]
url = "https://example.org/ws"
password = { env = "PAYFIP_PASSWORD" }

[instances.payfip.demo.http]
timeout = 3

[instances.tabular.rennes-1.settings.sources.schools]
file = "schools.csv"
"""
ENVIRON = {"WCS_PASSWORD": "canary-1", "PAYFIP_PASSWORD": "canary-2"}


def written(folder: Path, text: str) -> Path:
    (folder / "secrets").mkdir(exist_ok=True)
    (folder / "secrets" / "key").write_text("canary-3\n")
    path = folder / "relais.toml"
    path.write_text(text, encoding="utf-8")
    return path


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(BadSettings) as caught:
        load(written(folder, text), ENVIRON)
    return [english(fault) for fault in caught.value.faults]


class Source(Model):
    file: str
    columns: list[str] = []


class Login(Model):
    user: str
    password: Secret


class Connector(Model):
    url: HttpUrl
    password: Secret
    pages: int = 1
    login: Login | None = None
    keys: list[Secret] = []
    sources: dict[str, Source] = {}


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    read = load(written(tmp_path, WHOLE), ENVIRON)
    assert read.gateway.listen == "0.0.0.0:8080"
    assert read.gateway.data == tmp_path / "data"
    assert read.gateway.max_body == 20_000_000
    assert read.gateway.trusted_proxies == (ip_network("192.0.2.1/32"),)
    assert read.egress.private == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    wcs, portal = read.clients["wcs"], read.clients["portal"]
    assert wcs.name == "wcs"
    assert wcs.basic is not None
    assert wcs.basic.password.reveal() == "canary-1"
    assert wcs.rights[1].covers("tabular", "rennes-2", "data")
    assert portal.signature is not None
    assert portal.signature.key.reveal() == "canary-3"
    assert [name for name, _ in read.every_instance()] == ["payfip/demo", "tabular/rennes-1"]
    assert dict(read.instances["payfip"]["demo"].http) == {"timeout": 3}


def test_an_empty_file_opens_nothing(tmp_path: Path) -> None:
    read = load(written(tmp_path, ""), {})
    assert read.gateway.listen == "127.0.0.1:8080"
    assert read.gateway.deadline == 25.0
    assert read.gateway.data == tmp_path / "relais-data"
    assert not read.clients
    assert not list(read.every_instance())
    assert GatewaySettings() == GatewaySettings()


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    read = load(written(tmp_path, WHOLE), ENVIRON)
    with pytest.raises(ValueError):
        read.gateway.deadline = 3.0


def test_no_representation_shows_a_secret(tmp_path: Path) -> None:
    read = load(written(tmp_path, WHOLE), ENVIRON)
    raw = read.instances["payfip"]["demo"].settings
    chosen = validate_settings(Connector, raw, "")
    for shown in (repr(read), str(read), repr(raw), str(raw), repr(chosen), read.clients["wcs"].model_dump_json()):
        assert "canary" not in shown
        assert "example.org/ws" not in shown or shown == repr(chosen)


# --- faults -----------------------------------------------------------------------------------------------------------

CLIENT = '[clients.wcs]\nbasic = { username = "u", password = "p" }\nrights = []\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[gateway]\nlisen = 1", 'relais.toml, line 2, gateway.lisen: unknown key, did you mean "listen"?'),
        ("[getaway]\n", 'relais.toml, line 1, getaway: unknown key, did you mean "gateway"?'),
        ("[egress]\nzzz = 1", "relais.toml, line 2, egress.zzz: unknown key; expected: private"),
        ("[gateway]\ndeadline = 28", "relais.toml, line 2, gateway.deadline: must be less than 28.0"),
        ("\n\n[gateway]\n# x\nworkers = -1", "relais.toml, line 5, gateway.workers: must be at least 0"),
        ("gateway.workers = 'many'", "relais.toml, line 1, gateway.workers: must be a whole number"),
        ("gateway = 3", "relais.toml, line 1, gateway: must be an object"),
        ('[gateway]\nlisten = "8080"', 'relais.toml, line 2, gateway.listen: is not "host:port"'),
        ('[gateway]\nlisten = "::1:99999999"', "is not"),
        ('[gateway]\nmax_body = "lots"', 'relais.toml, line 2, gateway.max_body: is not a size: write "20MB"'),
        ("[gateway]\nmax_body = true", "is not a size"),
        (
            '[gateway]\nlog_level = "loud"',
            "relais.toml, line 2, gateway.log_level: must be 'debug', 'info', 'warning' or 'error'",
        ),
        (
            '[egress]\nprivate = [\n  "10.0.0.0/8",\n  "10.0.0.1/8"]',
            "line 2, egress.private.1: is not an address or a network",
        ),
        ("[egress]\nprivate = [3]", "egress.private.0: is not an address or a network"),
        ("[clients.Bad]\nrights=[]", "line 1, clients.Bad: name not allowed"),
        ("[clients.wcs]\nrights=[]", "line 1, clients.wcs: has no credential: write basic, api_key or signature"),
        ("[clients.wcs]\nip=['10.0.0.0/8']\nrights=[]", "has no credential"),
        ("[clients.wcs]\ntrusted_ip=true\nrights=[]", "clients.wcs: needs ip: write ip ="),
        (
            "[clients.wcs]\napi_key='0123456789abcdef'",
            'line 1, clients.wcs.rights: is required: write rights = ["payfip/*/*"]',
        ),
        ("[clients.wcs]\napi_key='short'\nrights=[]", "line 2, clients.wcs.api_key: is too short: at least 16"),
        ("[clients.wcs]\nbasic = { username = 'u' }\nrights=[]", "line 2, clients.wcs.basic.password: is required"),
        ("[clients.wcs]\nbasic = { username = 'a:b', password = 'p' }\nrights=[]", 'basic.username: cannot hold ":"'),
        ("[clients.wcs]\nbasic = { username = 'u', password = '' }\nrights=[]", "basic.password: is empty"),
        ("[clients.wcs]\nname = 'x'\napi_key='0123456789abcdef'\nrights=[]", "line 2, clients.wcs.name: unknown key"),
        (CLIENT.replace("[]", "['payfip']"), 'line 3, clients.wcs.rights.0: is not "connector/instance/endpoint"'),
        (CLIENT.replace("[]", "['payfip/[a-z]/x']"), "clients.wcs.rights.0: is not"),
        (CLIENT.replace("[]", "[3]"), "clients.wcs.rights.0: is not"),
        (CLIENT + CLIENT.replace("wcs", "b"), "line 5, clients.b.basic.username: is already that of clients.wcs"),
        ("[instances.payfip]\ndemo = 3", "line 2, instances.payfip.demo: must be an object"),
        ("[instances.payfip.'dé mo']", "line 1, instances.payfip.dé mo: name not allowed"),
        ("[instances.PayFiP.demo]", "line 1, instances.PayFiP: name not allowed"),
        ("[instances.payfip.demo]\nsettings = 3", "line 2, instances.payfip.demo.settings: must be a table"),
        (
            "[instances.payfip.demo]\navailability_every = 1",
            "instances.payfip.demo.availability_every: must be at least 10",
        ),
        ("[instances.payfip.demo]\nurl = 'x'", "line 2, instances.payfip.demo.url: unknown key"),
    ],
)
def test_a_fault_names_the_file_the_line_and_the_field_and_says_what_to_write(
    tmp_path: Path, text: str, said: str
) -> None:
    found = faults(tmp_path, text)
    assert len(found) == 1, found
    assert said in found[0]


def test_every_fault_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "[gateway]\ndeadline = 40\nlisen = 1\n[clients.wcs]\nbasic = {username = 'u', password = {env = 'NOPE'}}\n"
    found = faults(tmp_path, text)
    assert [said.split(": ")[0] for said in found] == [
        "relais.toml, line 2, gateway.deadline",
        "relais.toml, line 3, gateway.lisen",
        "relais.toml, line 4, clients.wcs.rights",
        "relais.toml, line 5, clients.wcs.basic.password",
    ]


def test_faults_are_told_in_french_first(tmp_path: Path) -> None:
    with pytest.raises(BadSettings) as caught:
        load(written(tmp_path, "[gateway]\nlisen = 1"))
    assert (
        caught.value.message == "relais.toml, ligne 2, gateway.lisen : clé inconnue, vouliez-vous écrire « listen » ?"
    )


@pytest.mark.parametrize(
    "text",
    [
        "[clients.wcs]\nbasic = {username = 'canary', password = 'canary', extra = 'canary'}\nrights = ['canary']",
        "[gateway]\ndeadline = 'canary'\nlisten = 'canary'\nmax_body = 'canary'",
        "[egress]\nprivate = ['canary']\n",
        "[clients.a]\napi_key = 'canary'\nrights = []\nip = 'canary'",
    ],
)
def test_no_fault_repeats_a_value(tmp_path: Path, text: str) -> None:
    assert not any("canary" in said for said in faults(tmp_path, text))


def test_bad_toml_is_told_with_its_line(tmp_path: Path) -> None:
    assert faults(tmp_path, "a = 1\nb == 2") == ["relais.toml, line 2, column 4: bad TOML (Invalid value)"]
    assert "at the end" in faults(tmp_path, "a = ")[0]
    assert "bad TOML" in faults(tmp_path, "[a]\n[a]")[0]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="introuvable"):
        load(tmp_path / "absent.toml")
    with pytest.raises(BadSettings, match="illisible"):
        load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(BadSettings, match="UTF-8"):
        load(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("size", "number"), [("20MB", 20_000_000), ("512 Ko", 512_000), ("1MiB", 1 << 20), (7, 7), ("9", 9)]
)
def test_sizes_are_written_as_people_do(tmp_path: Path, size: Any, number: int) -> None:
    value = f'"{size}"' if isinstance(size, str) else size
    assert load(written(tmp_path, f"[gateway]\nmax_body = {value}")).gateway.max_body == number


# --- references to secrets --------------------------------------------------------------------------------------------


def test_a_missing_variable_or_file_is_told_where_it_is_asked_for(tmp_path: Path) -> None:
    text = CLIENT.replace('"p"', '{ env = "ABSENT" }').replace('"u"', '{ file = "secrets/absent" }')
    assert faults(tmp_path, text) == [
        "relais.toml, line 2, clients.wcs.basic.username: "
        "the file secrets/absent cannot be read (No such file or directory)",
        "relais.toml, line 2, clients.wcs.basic.password: the environment variable ABSENT is not set",
    ]


def test_a_reference_serves_any_kind_of_value(tmp_path: Path) -> None:
    text = (
        '[gateway]\nlisten = { env = "LISTEN" }\nworkers = { env = "WORKERS" }\n[egress]\nprivate = [{ env = "NET" }]'
    )
    environ = {"LISTEN": "127.0.0.1:1", "WORKERS": "3", "NET": "10.0.0.0/8"}
    read = load(written(tmp_path, text), environ)
    assert (read.gateway.listen, read.gateway.workers) == ("127.0.0.1:1", 3)
    assert read.egress.private == (ip_network("10.0.0.0/8"),)


# --- settings of an instance ------------------------------------------------------------------------------------------


def test_an_instances_settings_are_read_by_its_connectors_model(tmp_path: Path) -> None:
    text = """
[instances.x.y.settings]
url = "https://example.org"
password = { file = "secrets/key" }
login = { user = "u", password = { env = "WCS_PASSWORD" } }
keys = ["a", { env = "PAYFIP_PASSWORD" }]
[instances.x.y.settings.sources.schools]
file = "schools.csv"
"""
    raw = load(written(tmp_path, text), ENVIRON).instances["x"]["y"].settings
    chosen = validate_settings(Connector, raw, "instances.x.y.settings")
    assert chosen.password.reveal() == "canary-3"
    assert chosen.login is not None
    assert chosen.login.password.reveal() == "canary-1"
    assert [key.reveal() for key in chosen.keys] == ["a", "canary-2"]
    assert chosen.sources["schools"].file == "schools.csv"  # a table where one is expected is not a reference


def test_faults_of_an_instances_settings_name_the_file_and_the_line(tmp_path: Path) -> None:
    text = """
[instances.x.y]
[instances.x.y.settings]
url = "canary"
pasword = "canary"
pages = "canary"
[instances.x.y.settings.sources.schools]
fil = "canary"
"""
    raw = load(written(tmp_path, text)).instances["x"]["y"].settings
    with pytest.raises(BadSettings) as caught:
        validate_settings(Connector, raw, "instances.x.y.settings")
    found = [english(fault) for fault in caught.value.faults]
    assert found == [
        'relais.toml, line 3, instances.x.y.settings.password: is required: write password = { env = "…" }',
        "relais.toml, line 4, instances.x.y.settings.url: must be a whole http(s) address, without credentials",
        'relais.toml, line 5, instances.x.y.settings.pasword: unknown key, did you mean "password"?',
        "relais.toml, line 6, instances.x.y.settings.pages: must be a whole number",
        'relais.toml, line 7, instances.x.y.settings.sources.schools.file: is required: write file = "…"',
        'relais.toml, line 8, instances.x.y.settings.sources.schools.fil: unknown key, did you mean "file"?',
    ]


def test_an_instance_without_settings_is_told_at_the_instance(tmp_path: Path) -> None:
    raw = load(written(tmp_path, "\n[instances.x.y]\n")).instances["x"]["y"].settings
    with pytest.raises(BadSettings, match=r"relais.toml, ligne 2, instances.x.y.settings.url : est obligatoire"):
        validate_settings(Connector, raw, "instances.x.y.settings")


def test_a_path_is_relative_to_the_file(tmp_path: Path) -> None:
    class Files(Model):
        table: Path
        others: list[Path] = []
        maybe: Path | None = None

    text = "[instances.x.y.settings]\ntable = 'a.csv'\nothers = ['/b.csv', 'c.csv']\nmaybe = 'd'"
    chosen = validate_settings(Files, load(written(tmp_path, text)).instances["x"]["y"].settings, "")
    assert chosen.table == tmp_path / "a.csv"
    assert chosen.others == [Path("/b.csv"), tmp_path / "c.csv"]
    assert chosen.maybe == tmp_path / "d"
    assert validate_settings(Files, {"table": "a.csv"}, "").table == Path("a.csv")


def test_a_fault_found_later_is_told_with_its_line(tmp_path: Path) -> None:
    (_, instance), *_ = load(written(tmp_path, "\n[instances.x.y]\n")).every_instance()
    assert english(instance.told("no")) == "relais.toml, line 2, instances.x.y: no"


def test_settings_from_elsewhere_are_told_by_the_name_given() -> None:
    with pytest.raises(BadSettings) as caught:
        validate_settings(Login, {"user": "u"}, "here")
    assert english(caught.value.faults[0]) == 'here.password: is required: write password = { env = "…" }'


# --- lines ------------------------------------------------------------------------------------------------------------


def test_every_way_of_writing_a_key_has_its_line() -> None:
    text = '''# [not]
a = 1 # b = 2
"b c" = "x = 1"
'd.e'.f = 2
long = """
g = 1
[h] \\""" ""
"""
list = [ # ]
  "]", # [
  { i = 1 },
]
raw = \'\'\'
[no]
\'\'\'
[j . "k.l"] # x
m.n = { o = 1 }
[[p]]
q = 1
[[p]]
q = 2
[p.r]
s = 1
'''
    lines = lines_of(text)
    tomllib.loads(text)
    wanted = {
        ("a",): 2,
        ("b c",): 3,
        ("d.e", "f"): 4,
        ("long",): 5,
        ("list",): 9,
        ("raw",): 13,
        ("j", "k.l"): 16,
        ("j", "k.l", "m", "n"): 17,
        ("p", "0", "q"): 19,
        ("p", "1", "q"): 21,
        ("p", "1", "r"): 22,
        ("p", "1", "r", "s"): 23,
    }
    assert {path: lines[path] for path in wanted} == wanted
    assert not {("g",), ("h",), ("no",), ("not",), ("b",)} & set(lines)
    assert line_of(lines, ("j", "k.l", "m", "n", "o")) == 17
    assert line_of(lines, ("nowhere",)) is None


def test_windows_line_ends_count_once() -> None:
    assert lines_of("a = 1\r\n\r\nb = 2\r\n")[("b",)] == 3


def keys_of(value: Any, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if isinstance(value, dict):
        return {path} | set().union(*(keys_of(item, (*path, key)) for key, item in value.items()))
    return {path}


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="[]{}='\"#\\\n .,a1-", max_size=40))
def test_any_valid_toml_has_lines_for_its_keys(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = lines_of(text)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())
    for path in keys_of(document):
        assert not path or line_of(lines, path) is not None


# --- callbacks --------------------------------------------------------------------------------------------------------

CALLBACK = """
[clients.wcs]
api_key = "0123456789abcdef"
rights = ["*/*/*"]

[clients.wcs.callback]
url = "https://demarches.example.org"
"""


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('trigger = "suivi"\nhook = "suivi"\nbasic = { username = "a", password = "b" }', "il faut trigger ou hook"),
        ('basic = { username = "a", password = "b" }', "il faut trigger ou hook"),
        ('trigger = "suivi"', "il faut signature ou basic"),
        ('trigger = "../x"\nbasic = { username = "a", password = "b" }', "clients.wcs.callback.trigger"),
        ('triger = "suivi"', "vouliez-vous écrire « trigger »"),
    ],
)
def test_a_wrong_callback_is_told_by_its_line(tmp_path: Path, lines: str, said: str) -> None:
    (tmp_path / "relais.toml").write_text(CALLBACK + lines)
    with pytest.raises(BadSettings, match=re.escape(said)):
        load(tmp_path / "relais.toml")


def test_a_callback_in_plain_http_must_be_meant(tmp_path: Path) -> None:
    lines = CALLBACK.replace("https:", "http:") + 'hook = "suivi"\nbasic = { username = "a", password = "b" }\n'
    (tmp_path / "relais.toml").write_text(lines)
    with pytest.raises(BadSettings, match="allow_http = true"):
        load(tmp_path / "relais.toml")
    (tmp_path / "relais.toml").write_text(lines + "http = { allow_http = true }\n")
    load(tmp_path / "relais.toml")


def test_a_callback_has_its_own_way_out(tmp_path: Path) -> None:
    lines = 'hook = "suivi"\nsignature = { orig = "relais.example.org", key = { env = "KEY" } }\nhttp = { timeout = 5 }'
    (tmp_path / "relais.toml").write_text(CALLBACK + lines)
    found = load(tmp_path / "relais.toml", {"KEY": "s3cr3t"}).clients["wcs"].callback
    assert found is not None
    assert (found.hook, found.http.timeout, found.hours) == ("suivi", 5.0, 72.0)

from __future__ import annotations

import base64
import io
import json
import zipfile

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.errors import Text
from sdk.files import File, disposition, safe_name, sniff
from sdk.model import Model, faults

PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


class Request(Model):
    piece: File
    other: File | None = None


def archive(**members: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as writer:
        for name, content in members.items():
            writer.writestr(name, content)
    return out.getvalue()


def received(**members: object) -> File:
    return Request.model_validate({"piece": members}).piece


def refusal(data: object) -> Text:
    with pytest.raises(pydantic.ValidationError) as caught:
        Request.model_validate({"piece": data})
    (sentences,) = faults(caught.value).values()
    assert isinstance(sentences[0], Text)
    return sentences[0]


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PDF, "application/pdf"),
        (b"\r\n" + PDF, "application/pdf"),
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"),
        (b"GIF89a\x01\x00", "image/gif"),
        (b"II*\x00\x08\x00\x00\x00", "image/tiff"),
        (b"MM\x00*\x00\x00\x00\x08", "image/tiff"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00", "image/heic"),
        (b"\x1f\x8b\x08\x00\x00", "application/gzip"),
        (b"{\\rtf1\\ansi", "application/rtf"),
        (b"PK\x05\x06" + bytes(18), "application/zip"),
        (archive(**{"a.txt": "x"}), "application/zip"),
        (archive(**{"[Content_Types].xml": "<a/>", "word/document.xml": "<b/>"}), WORD),
        (archive(mimetype="application/vnd.oasis.opendocument.text"), "application/vnd.oasis.opendocument.text"),
        (archive(mimetype="application/epub+zip"), "application/epub+zip"),
        (archive(mimetype="application/evil"), "application/zip"),
        (b'<?xml version="1.0"?><a/>', "application/xml"),
        ('<?xml version="1.0"?><a/>'.encode("utf-16"), "application/xml"),
        (b"<note><to>x</to></note>\n", "application/xml"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
        (b"  <!DOCTYPE html><html></html>", "text/html"),
        (b"\xef\xbb\xbf<html lang=fr>", "text/html"),
        (b'<?xml version="1.0"?><!DOCTYPE html><html/>', "text/html"),
        (b'{"err": 0}\n', "application/json"),
        (b"id;nom\n1;Rennes\n2;Metz\n", "text/csv"),
        (b"id,nom\n1,Rennes\n", "text/csv"),
        ("id;école\n1;Éluard\n".encode("cp1252"), "text/csv"),
        (b"Bonjour, madame,\nvoici, enfin, la lettre.\n", "text/plain"),
        ("été".encode(), "text/plain"),
        (b"\x00\x01\x02\x03", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_the_first_bytes_tell_the_type(content: bytes, kind: str) -> None:
    assert sniff(content) == kind


def test_a_character_cut_at_the_edge_of_the_window_does_not_make_text_binary() -> None:
    assert sniff(b"a" * 8191 + "é".encode() + b"b" * 100) == "text/plain"


@pytest.mark.parametrize(
    ("declared", "content", "kept"),
    [
        (None, PDF, "application/pdf"),
        ("", PDF, "application/pdf"),
        ("application/octet-stream", PDF, "application/pdf"),
        ("application/force-download", PNG, "image/png"),
        ("image/png", PDF, "application/pdf"),
        ("application/pdf", b"<html>Veuillez vous connecter</html>", "text/html"),
        ("text/plain", b"<html><script>", "text/html"),
        ("application/pdf", b"\x00\x01", "application/octet-stream"),
        ("Text/CSV; charset=iso-8859-1", b"un seul mot", "text/csv"),
        ("text/calendar", b"BEGIN:VCALENDAR", "text/calendar"),
        ("application/gml+xml", b"<?xml version='1.0'?><a/>", "application/gml+xml"),
        ("image/jpg", b"\xff\xd8\xff\xe0", "image/jpeg"),
        ("application/msword", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/msword"),
        ("application/zip", archive(**{"[Content_Types].xml": "<a/>", "word/document.xml": "<b/>"}), WORD),
        (WORD, archive(**{"a.txt": "x"}), "application/zip"),
        ("application/vnd.ms-word.document.macroenabled.12", archive(a="x"), None),
        ("pas un type\r\nX-Evil: 1", PDF, "application/pdf"),
        ("image/png", b"plain words", "text/plain"),
        ("text/plain", b"\x00\x01\x02", "application/octet-stream"),
        ("audio/ogg", b"OggS\x00\x02", "audio/ogg"),
    ],
)
def test_an_announced_type_is_kept_unless_the_bytes_contradict_it(
    declared: str | None, content: bytes, kept: str | None
) -> None:
    file = received(filename="x", content_type=declared, content=encoded(content))
    assert file.content_type == (kept or declared)
    assert file.content == content


def test_content_is_base64_unless_said_otherwise() -> None:
    assert received(content="Qm9uam91cg==").content == b"Bonjour"
    assert received(content="Qm9uam91cg==", content_is_base64=True).content == b"Bonjour"
    assert received(content="Qm9uam91cg==", content_is_base64=False).content == b"Qm9uam91cg=="
    assert received(content="été", content_is_base64="false").content == "été".encode()


def test_base64_broken_into_lines_is_read() -> None:
    assert received(content="Qm9u\r\nam91\r\ncg==").content == b"Bonjour"


@pytest.mark.parametrize("content", ["abc", "été!", "Qm9uam91cg", "====", "Qm9u*am91"])
def test_bad_base64_is_refused_by_a_sentence_that_says_what_to_do(content: str) -> None:
    said = refusal({"content": content})
    assert "base64" in said
    assert "content_is_base64" in said
    assert "is not base64" in said.en
    assert content not in said


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ({}, "content"),
        ({"content": None}, "content"),
        ({"content": 3}, "texte"),
        ({"content": "", "filename": 3}, "filename"),
        ({"content": "", "content_type": []}, "content_type"),
        ({"content": "", "content_is_base64": "perhaps"}, "content_is_base64"),
        ({"content": "", "colour": "red"}, "colour"),
        ("a path", "objet"),
        ([1], "objet"),
    ],
)
def test_a_file_that_is_not_one_is_refused_by_name(data: object, word: str) -> None:
    assert word in refusal(data)


def test_what_a_complete_form_adds_to_a_file_is_ignored() -> None:
    file = received(content="", filename="a.txt", url="https://x", thumbnail_url="https://y", field_id="3")
    assert file.filename == "a.txt"


def test_a_file_without_name_gets_one_from_its_type() -> None:
    assert received(content=encoded(PDF)).filename == "fichier.pdf"
    assert received(content=encoded(PNG), filename=" ").filename == "fichier.png"
    assert File(content=PDF).filename == "fichier.pdf"


def test_an_optional_file_left_empty_is_absent() -> None:
    assert Request.model_validate({"piece": {"content": ""}, "other": None}).other is None
    assert Request.model_validate({"piece": {"content": ""}, "other": ""}).other is None


def test_a_file_made_in_code_has_its_type_recognised() -> None:
    file = File(content=PDF, filename="avis", content_type="image/png")
    assert file.content_type == "application/pdf"
    assert file.size == len(PDF)
    assert file.disposition == 'attachment; filename="avis.pdf"'


def test_no_representation_shows_the_content_or_the_name() -> None:
    request = Request.model_validate({"piece": {"content": "c2VjcmV0", "filename": "dupont.txt"}})
    for shown in (repr(request), str(request), repr(request.piece), str(request.piece), f"{request.piece}"):
        assert "secret" not in shown
        assert "dupont" not in shown


def test_a_file_inside_a_json_answer_has_the_flag_without_which_publik_reads_text() -> None:
    request = Request(piece=File(content=PNG, filename="a.png"))
    assert json.loads(request.model_dump_json())["piece"] == {
        "filename": "a.png",
        "content_type": "image/png",
        "content": encoded(PNG),
        "content_is_base64": True,
    }


def test_the_json_schema_documents_the_four_members() -> None:
    schema = Request.model_json_schema()["$defs"]["File"]
    assert set(schema["properties"]) == {"filename", "content_type", "content", "content_is_base64"}
    assert schema["required"] == ["content"]


@pytest.mark.parametrize(
    ("filename", "kind", "name"),
    [
        ("avis.pdf", "application/pdf", "avis.pdf"),
        ("Avis d'échéance n°12.PDF", "application/pdf", "Avis-d-echeance-n12.PDF"),
        ("cœur.txt", "text/plain", "coeur.txt"),
        ("avis", "application/pdf", "avis.pdf"),
        ("avis.png", "application/pdf", "avis.pdf"),
        ("photo.jpeg", "image/jpeg", "photo.jpeg"),
        ("notes.csv", "text/plain", "notes.csv"),
        ("plan v1.2", "application/pdf", "plan-v1.2.pdf"),
        ("archive.tar.gz", "application/gzip", "archive.tar.gz"),
        ("données.xyz", "application/octet-stream", "donnees.xyz"),
        ("données", "application/octet-stream", "donnees.bin"),
        ("../../etc/passwd", "", "passwd"),
        ("C:\\Users\\x\\avis.pdf", "", "avis.pdf"),
        ("日本語.pdf", "application/pdf", "fichier.pdf"),
        ("a\"; filename*=UTF-8''evil.exe; x=\"b.pdf", "application/pdf", "a-filename-UTF-8-evil.exe-x-b.pdf"),
        ("a\r\nSet-Cookie: x=1\r\n.pdf", "application/pdf", "a-Set-Cookie-x-1.pdf"),
        ("", "application/pdf", "fichier.pdf"),
        ("...", "", "fichier"),
        (".htaccess", "text/plain", "htaccess.txt"),
    ],
)
def test_a_name_is_written_so_that_publik_reads_it(filename: str, kind: str, name: str) -> None:
    assert safe_name(filename, kind) == name


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300), st.sampled_from(["", "application/pdf", "text/csv", "x/y\r\n"]))
def test_whatever_the_name_the_header_is_one_plain_ascii_filename(filename: str, kind: str) -> None:
    header = disposition(filename, kind)
    start, _, rest = header.partition('filename="')
    assert start == "attachment; "
    assert rest.endswith('"')
    name = rest[:-1]
    assert 1 <= len(name) <= 120
    assert all(char.isascii() and (char.isalnum() or char in "._-") for char in name)
    assert not name.startswith(".")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_have_a_type(content: bytes) -> None:
    assert "/" in sniff(content)
    assert File(content=content).content == content

"""SOAP answers through a whole gateway: large ones reach the caller whole, and how they were read is known."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from .conftest import Start, upstream
from .library import Library, found
from .test_command import said
from .test_serve import configured

LIBRARY = ("--connector", "tests.gateway.library:Library")


async def test_a_large_answer_reaches_the_caller_whole_and_its_way_is_counted(start: Start) -> None:
    sizes = {"small": 3, "large": 3_000}
    asked = "small"

    async def answers(request: web.Request) -> web.Response:
        return web.Response(body=found(sizes[asked]), content_type="text/xml")

    async with upstream(answers) as url, start(Library, settings={"url": url}, admin=True) as gateway:
        for asked, count in sizes.items():  # noqa: B007
            for endpoint in ("books", "raw"):
                answer = await gateway.get(f"/library/test/{endpoint}")
                assert answer["err"] == 0
                assert [row["code"] for row in answer["data"]] == [str(n) for n in range(count)]
        async with gateway.session.get(f"{gateway.admin}/metrics") as metrics:
            text = await metrics.text()
    assert 'relais_soap_answers_total{connector="library",way="compiled"} 2.0' in text
    assert 'relais_soap_answers_total{connector="library",way="stepped"} 2.0' in text


async def test_check_tells_what_of_an_instance_is_read_slowly_and_why(tmp_path: Path) -> None:
    config = configured(tmp_path)
    config.write_text(
        config.read_text()
        + '\n[instances.library.town]\nsettings = { url = "http://127.0.0.1:1/" }\nhttp = { allow_http = true }\n'
    )
    code, _, err = await said(
        "check", "-c", str(config), "--offline", *LIBRARY, "--connector", "tests.gateway.garden:Garden"
    )
    assert code == 0
    assert "library/town: library.wsdl: whoIsResponse est lu sans lecteur compilé" in err
    assert "un groupe répété" in err
    assert "payfip.wsdl" not in err


async def test_a_wsdl_is_shown_with_what_of_it_is_read_slowly() -> None:
    code, out, _ = await said("wsdl", "tests/sdk/wsdl/registry.wsdl", RELAIS_LANG="en")
    assert code == 0
    assert "# search is read without a compiled reader, more slowly therefore: SOAP encoding (rpc/encoded)" in out

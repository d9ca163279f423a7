"""The page's server: for this machine alone, and a page that asks nobody else for anything."""

import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from lit_gen.cli.exploring.explorer import Explorer
from lit_gen.cli.exploring.uploads import MOST_BYTES

LOCAL = "127.0.0.1"
OFFLINE = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)


def require_gradio() -> None:
    """See that Gradio is there, and keep it from calling home.

    Raises:
        ValueError: with the command that installs it.
    """
    os.environ.update(OFFLINE)  # which it reads when it is imported
    try:
        import gradio  # noqa: F401
    except ImportError:
        raise ValueError("needs the package gradio: pip install 'lit-gen[explore]'") from None


Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class Guard:
    """ASGI middleware: answers this page alone, and lets the browser ask this server alone.

    Args:
        app: What is guarded.
        hosts: Names by which the server may be addressed, against pages elsewhere that give its address a name of
            their own; none for any.
    """

    def __init__(self, app: Any, hosts: Sequence[str] = ()) -> None:
        self.app, self.hosts = app, tuple(hosts)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it with status 403."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2] != host
        if self.hosts and (foreign or host.rpartition(":")[0] not in self.hosts):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"this page is for the machine that serves it\n"})
            return

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = [(b"content-security-policy", POLICY.encode()), (b"referrer-policy", b"no-referrer")]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        await self.app(scope, receive, send_guarded)


def serve(explorer: Explorer, host: str = LOCAL, port: int | None = None, browser: bool = False) -> None:
    """Serve a model's page until Ctrl-C.

    Args:
        explorer: The model.
        host: Address to listen at; at the default one this machine alone is answered.
        port: A free one from 7860 on if None.
        browser: Whether to open it.

    Raises:
        ValueError: without Gradio, or for a port that is taken.
    """
    with tempfile.TemporaryDirectory(prefix="lit-gen-explore-") as folder:
        page = start(explorer, Path(folder), host, port, browser)
        print(f"lit-gen: {explorer.name} at {page.local_url} (Ctrl-C ends it)", flush=True)
        try:
            page.block_thread()
        finally:
            page.close(verbose=False)


def start(explorer: Explorer, folder: Path, host: str = LOCAL, port: int | None = None, browser: bool = False) -> Any:
    """Serve a model's page in a thread of its own.

    Args:
        explorer: The model.
        folder: Of uploads, pictures and latents.
        host: As of :func:`serve`.
        port: As of :func:`serve`.
        browser: As of :func:`serve`.

    Returns:
        The ``gradio.Blocks``.

    Raises:
        ValueError: as of :func:`serve`.
    """
    require_gradio()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    from starlette.middleware import Middleware

    from lit_gen.cli.exploring.page import CSS, THEME, build

    hosts = (LOCAL, "localhost") if host == LOCAL else ()
    try:
        page = build(explorer, folder)
        page.launch(
            server_name=host,
            server_port=port,
            inbrowser=browser,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            pwa=False,
            mcp_server=False,
            ssr_mode=False,
            max_file_size=MOST_BYTES,
            theme=THEME,
            css=CSS,
            app_kwargs={"middleware": [Middleware(Guard, hosts=hosts)]},
        )
    except OSError as error:
        if "port" not in str(error):
            raise
        raise ValueError(f"--port {port}: taken, or not to be had") from None
    return page

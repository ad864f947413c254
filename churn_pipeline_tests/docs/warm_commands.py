"""Console scripts and Python files run by forks of a process that has imported everything.

Two thirds of the time of a short command are imports; the pages have dozens of commands. A stub of the same name,
first on PATH, hands arguments, folder, environment and open files to the server, which forks: what runs is the real
entry point in a process of its own.

Belongs here: server and stubs. Does not: commands.
"""

import gc
import json
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

_WARM = (
    "churn_pipeline.cli", "churn_pipeline.definitions", "churn_pipeline.inference_job", "churn_pipeline.runs",
    "churn_pipeline.inference", "apprise", "dagster._cli", "dagster_mlflow", "mlflow.sklearn", "pandera.pandas",
    "rich.console", "rich.table", "skops.io", "sklearn.compose", "sklearn.ensemble", "sklearn.linear_model",
    "sklearn.model_selection", "sqlalchemy", "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
)  # fmt: skip

_STUB = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"."], [0, 1, 2])
    call = dict(argv=[{name!r}, *sys.argv[1:]], folder=os.getcwd(), environment=dict(os.environ))
    server.sendall(json.dumps(call).encode())
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(16) or b"70"))
"""


@contextmanager
def warm_commands(folder: Path, environment: dict[str, str]) -> Iterator[Path]:
    """A folder of stubs for PATH, for as long as the block runs."""
    folder.mkdir()
    address = str(folder / "server")
    for name in ("churn-pipeline", "dagster", "mlflow", "python"):
        stub = folder / name
        stub.write_text(_STUB.format(python=sys.executable, address=address, name=name), encoding="utf-8")
        stub.chmod(0o755)
    command = [sys.executable, "-m", __name__, address]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, cwd=root) as server:
        try:
            assert server.stdout is not None and server.stdout.readline(), "the server of warm commands did not start"
            yield folder
        finally:
            server.kill()


def _serve(address: str) -> None:
    for name in _WARM:
        import_module(name)
    gc.freeze()  # or each fork would walk, and so copy, all that was imported
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        print("ready", flush=True)
        children: list[int] = []
        while True:
            client, _ = server.accept()
            _, files, *_ = socket.recv_fds(client, 1, 3)
            child = os.fork()
            if child == 0:
                server.close()
                _answer(client, files)
            client.close()
            for file in files:
                os.close(file)
            children = [other for other in children if os.waitpid(other, os.WNOHANG)[0] == 0]
            children.append(child)


def _answer(client: socket.socket, files: list[int]) -> None:
    """Run what was asked for in the place of the stub, and end."""
    call = json.loads(b"".join(iter(lambda: client.recv(65536), b"")))
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(call["environment"])
    os.chdir(call["folder"])
    code = 1
    try:
        code = _run(call["argv"])
    except BaseException:  # noqa: BLE001  an interpreter prints whatever reaches its top
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        client.sendall(str(code).encode())
        os._exit(code)


def _run(argv: list[str]) -> int:
    """The exit code."""
    name, *rest = argv
    try:
        if name == "python":
            sys.argv = rest
            sys.path.insert(0, str(Path.cwd()))
            runpy.run_path(rest[0], run_name="__main__")
        else:
            sys.argv = argv
            next(iter(entry_points(group="console_scripts", name=name))).load()()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 0


if __name__ == "__main__":
    _serve(sys.argv[1])

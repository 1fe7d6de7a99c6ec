"""Draw README's picture: train on the shipped text for a while, replay the run, take a picture near its end.

    python -m tests.ui.readme_picture
"""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.ui.script import Script, until
from tuitrain.recording.sessions import Replay
from tuitrain.run.directory import RunDirectory
from tuitrain.ui.app import CockpitApp

PICTURE = Path(__file__).with_name("readme.svg")


async def draw(run: RunDirectory) -> None:
    replay = Replay(run)
    replay.jump(0.97)
    script = Script()  # what a terminal that watched the run would have shown then
    script.state = replay.state
    app = CockpitApp(Path("runs/harbour-1"), lambda: script, clock=lambda: replay.now)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(lambda: app.view.connection == "live")
        app.redraw_plots()
        await pilot.pause()
        PICTURE.write_text(app.export_screenshot(title="tuitrain"))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        words = ["--no-ui", "--minutes", "2", "--threads", "1", "--run", f"{folder}/run"]
        run = subprocess.Popen([sys.executable, "-m", "tuitrain", *words], stdout=subprocess.PIPE, text=True)
        assert run.stdout is not None
        turned = False
        for line in run.stdout:
            if not turned and line.split()[:1] and line.split()[0].replace(",", "").isdigit() \
                    and int(line.split()[0].replace(",", "")) > 1500:
                turned = True
                subprocess.run([sys.executable, "-m", "tuitrain", "send", "--by", "you", f"{folder}/run", "clip",
                                "0.5"], check=True, stdout=subprocess.DEVNULL)
        run.wait()
        asyncio.run(draw(RunDirectory(Path(folder) / "run")))


if __name__ == "__main__":
    main()

"""Start the page: `python app.py`, then open http://127.0.0.1:7860."""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from ddemo.serve import run

if __name__ == "__main__":
    run()

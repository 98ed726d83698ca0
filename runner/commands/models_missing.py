"""What `chat` and `serve` say when there is no model to talk to."""

NO_MODEL = """\
There is no model yet. Two ways to name an endpoint that speaks OpenAI's Chat Completions:

  1. In the environment, here for a local one:
       export CELLBLOCK_MODEL_URL=http://127.0.0.1:11434/v1
       export CELLBLOCK_MODEL=qwen3:8b          # its name for the model
       export CELLBLOCK_MODEL_KEY=...           # if it wants a key

  2. In a TOML file, given with --config or in CELLBLOCK_CONFIG.
"""

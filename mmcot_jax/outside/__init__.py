"""Outside models: servers that speak OpenAI's protocol, asked over HTTP. Host only.

`client` sends one request and repeats it where that helps, `replies` keeps what came back, `calls`
runs many requests at once, `prices` estimates costs, `flags` holds the flags that the commands
share. `resq` and `alignment` hold the prompts of the baseline and of the judge.
"""

"""A Hub for tests and benchmarks: the HTTP protocol of the Hugging Face Hub, spoken to the unmodified `huggingface_hub` client.

    with serve(folder) as hub:                       # tests/hub_server/fixture.py; or the fixture `hub` of tests/conftest.py
        subprocess.run(command, env=hub.environment())
        assert hub.commits("me/model", "run") == [...]

Repositories are real bare git repositories with a folder of LFS objects; `git clone` works, with git-lfs too. The server is a
process of its own on 127.0.0.1, and tests switch its faults on and off as it runs (faults.py lists them).

It lacks Xet (`HF_HUB_DISABLE_XET=1` is part of `hub.environment()`), multi-part uploads, searches, Spaces, pages
of long lists, validation of a model card's YAML.

    store.py     git: revisions, trees, commits          api.py       the endpoints below /api
    commits.py   the payload of a commit                 content.py   files, LFS objects, git
    lfs.py       objects and pointers                    server.py    connections, requests and the effects of faults
    access.py    tokens                                  faults.py    which fault hits which request
    fixture.py   the server as a test sees it            control.py   what the test tells the server
    errors.py    how the Hub says no                     __main__.py  the process
"""

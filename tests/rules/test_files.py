"""Rules for every file of the repository, whatever its language."""

import re

from tests.rules.checkout import ROOT, files

# Joined here, so that this file does not contain what it forbids.
REGISTRY_HOSTS = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "repo1" + ".maven",
    "maven" + ".org",
    "repo.maven" + ".apache",
    "packages.confluent" + ".io",
    "registry.npm" + "js",
    "proxy.golang" + ".org",
]
MACHINE_PATHS = [f"/{folder}/" for folder in ("work", "root", "Users")]
BEGINS_A_PATH = r"(?<![\w.~*}-])"  # a part of a longer path is not meant
FORBIDDEN = re.compile(
    "|".join([re.escape(host) for host in REGISTRY_HOSTS] + [BEGINS_A_PATH + path for path in MACHINE_PATHS])
)

TITLE = re.compile(r"^# ", re.MULTILINE)
FENCED_BLOCK = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def test_no_file_names_a_package_registry_or_a_path_of_one_machine() -> None:
    named = []
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or an archive
        named += [
            f"{path.relative_to(ROOT)}:{number} {found.group()}"
            for number, line in enumerate(text.splitlines(), start=1)
            if (found := FORBIDDEN.search(line))
        ]
    assert not named, "whoever builds chooses the registry and the folder"


def test_a_markdown_file_has_one_title() -> None:
    titles = {
        str(path.relative_to(ROOT)): len(TITLE.findall(FENCED_BLOCK.sub("", path.read_text("utf-8"))))
        for path in files()
        if path.suffix == ".md"
    }
    wrong = {name: count for name, count in titles.items() if count != 1}
    assert not wrong, "one line that begins with '# '"


def test_an_executable_says_what_runs_it() -> None:
    nameless = [
        str(path.relative_to(ROOT))
        for path in files()
        if path.stat().st_mode & 0o111 and not path.read_bytes().startswith(b"#!")
    ]
    assert not nameless, "an executable file begins with #!"

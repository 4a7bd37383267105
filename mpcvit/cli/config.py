"""``mpcvit config``: check a configuration file without starting anything, and print its JSON schema."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mpcvit.admin.settings import AdminSettings
from mpcvit.cli.output import Json, command, print_grid, print_json, print_notices, print_table
from mpcvit.client.settings import ClientSettings
from mpcvit.config_file import ClientTlsSettings, ConfigProblem, TlsSettings, misspelt_variables
from mpcvit.config_schema import config_schema
from mpcvit.errors import MpcvitError
from mpcvit.wire.tls import ADMIN_SUFFIX, CLIENT_SUFFIX
from mpcvit.yaml_document import YamlDocument
from parties.common.settings import DealerSettings, PartySettings
from parties.common.tenants_file import TenantsFile

RoleSettings = PartySettings | DealerSettings | ClientSettings | AdminSettings

config_app = typer.Typer(help="Check configuration files.", no_args_is_help=True)


class ConfigRole(StrEnum):
    """Whose configuration a file is."""

    PARTY = "party"
    DEALER = "dealer"
    CLIENT = "client"
    TENANTS = "tenants"
    ADMIN = "admin"

    @property
    def settings(self) -> type[RoleSettings | TenantsFile]:
        """What its file holds."""
        kinds: dict[ConfigRole, type[RoleSettings | TenantsFile]] = {
            ConfigRole.PARTY: PartySettings,
            ConfigRole.DEALER: DealerSettings,
            ConfigRole.CLIENT: ClientSettings,
            ConfigRole.TENANTS: TenantsFile,
            ConfigRole.ADMIN: AdminSettings,
        }
        return kinds[self]

    @classmethod
    def guess(cls, document: YamlDocument) -> ConfigRole:
        """Return the role whose keys are most like those of ``document``."""

        def strange(role: ConfigRole) -> int:
            fields = role.settings.model_fields
            missing = sum(field.is_required() and name not in document.content for name, field in fields.items())
            return missing + sum(name not in fields for name in document.content)

        return min(cls, key=strange)


@config_app.command("validate")
@command
def validate(
    file: Annotated[
        Path, typer.Argument(help="The YAML file of a party, a dealer, a client or an operator, or a tenants file.")
    ],
    role: Annotated[
        ConfigRole | None, typer.Option(help="Whose file it is; guessed from its keys if not given.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Name every wrong key, with file and line or variable; exit code 4 if there is any.

    Certificates and keys that it names are checked if they are on this machine; 'mpcvit preflight' checks the rest.
    """
    document = YamlDocument.read(file)
    kind = role or ConfigRole.guess(document)
    problems, notices = problems_of(document, kind)
    notices += misspelt_variables(kind.settings)
    if json_output:
        print_json(
            {
                "file": str(file),
                "role": str(kind),
                "ok": not problems,
                "problems": [{"where": one.where, "key": one.key, "problem": one.what} for one in problems],
                "notices": notices,
            }
        )
    else:
        print_notices(notices)
        if problems:
            rows = [[one.where, one.key, one.what] for one in problems]
            print_grid(f"{file}: wrong as the configuration of a {kind}", ["where", "key", "problem"], rows)
        else:
            print_table(str(file), [("good", f"as the configuration of a {kind}")])
    if problems:
        raise typer.Exit(4)


@config_app.command("schema")
@command
def schema(role: Annotated[ConfigRole, typer.Argument(help="Whose file the schema is of.")]) -> None:
    """Print the JSON schema of a configuration file."""
    print_json(config_schema(role.settings))


def problems_of(document: YamlDocument, role: ConfigRole) -> tuple[list[ConfigProblem], list[str]]:
    """Return what is wrong with ``document`` as the configuration of ``role``, and what could not be checked here."""
    settings, problems = role.settings.check(document)
    if settings is None or isinstance(settings, TenantsFile):
        return problems, []
    return _certificate_problems(document, settings.tls, own_role_of(settings))


def own_role_of(settings: RoleSettings) -> str:
    """Return the role that the certificate of a configuration must name; ``.client`` stands for every client."""
    match settings:
        case PartySettings():
            return f"party{settings.index}"
        case DealerSettings():
            return "dealer"
        case ClientSettings():
            return CLIENT_SUFFIX
        case AdminSettings():
            return ADMIN_SUFFIX


def _certificate_problems(
    document: YamlDocument, tls: TlsSettings | ClientTlsSettings, role: str
) -> tuple[list[ConfigProblem], list[str]]:
    """Check the files under ``tls`` as far as they are on this machine."""
    files, problems = tls.files, []
    named = {"ca": files.ca, "cert": files.cert, "key": files.key}
    absent = {key: path for key, path in named.items() if path is not None and not path.exists()}
    try:
        if "cert" not in absent and (files.cert is not None or role != CLIENT_SUFFIX):  # a client may show a token
            files.require_role(role)
        if not absent:
            files.read()
    except MpcvitError as error:
        problems.append(ConfigProblem(document.place(["tls", "cert"]), "tls", str(error)))
    return problems, [f"tls.{key} was not checked: {path} is not on this machine" for key, path in absent.items()]

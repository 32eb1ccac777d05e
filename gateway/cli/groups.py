"""The commands on cast groups and their scenes."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.asking import config_option, json_option, print_json, print_lines, question
from gateway.cli.codes import EPILOG, FAILED, fail
from gateway.cli.groups_view import (
    group_lines,
    group_table,
    made_lines,
    member_lines,
    removed_lines,
    scene_lines,
    scene_table,
)
from gateway.cli.screen import screen

_Outer = tuple[str | None, bool]
_ENDPOINT = click.option("--endpoint", type=click.IntRange(1, 240), help="One of the device's, if it has several.")


def _ask(outer: _Outer, config: str | None, command: str, **arguments: Any) -> dict[str, Any]:
    given = {key: value for key, value in arguments.items() if value is not None}
    return question(config or outer[0], command, given)


def _print(outer: _Outer, as_json: bool, answer: Any, lines: Any) -> None:
    if as_json or outer[1]:
        print_json(answer)
    else:
        print_lines(lines)


def _one(answer: dict[str, Any], asked: str) -> dict[str, Any]:
    found = [each for each in answer["groups"] if asked in (each["name"], f"{each['id']}", f"0x{each['id']:04x}")]
    if not found:
        fail(FAILED, f"{asked}: no such group; atls-gateway groups lists those that there are")
    return dict(found[0])


@click.group(epilog=EPILOG, invoke_without_command=True)
@config_option
@json_option
@click.pass_context
def groups(context: click.Context, config: str | None, as_json: bool) -> None:
    """List cast groups, make one, or change who is in it.

    A cast group is several ZigBee devices that one message reaches: ten lamps change at the same moment, and it costs
    the radio as much as one. It has a name like a device, and is set like one over MQTT and CoAP. A client may use it
    if the policy lets it use every member.

    \b
    Which ones are there, and who is in them?
      atls-gateway groups
      atls-gateway groups show living
    Make one and put lamps in it:
      atls-gateway groups add living
      atls-gateway groups members add living desk
      atls-gateway groups members add living shelf
    Keep how they are now as a scene, and come back to it:
      atls-gateway scenes store living evening
      atls-gateway scenes recall living evening
    """
    context.obj = (config, as_json)
    if context.invoked_subcommand is None:
        answer = question(config, "groups")
        _print(context.obj, as_json, answer, group_table(answer["groups"], screen()))


@groups.command("list", epilog=EPILOG)
@config_option
@json_option
@click.pass_obj
def list_groups(outer: _Outer, config: str | None, as_json: bool) -> None:
    """List them: the same as `atls-gateway groups`.

    \b
      atls-gateway groups list --json
    """
    answer = _ask(outer, config, "groups")
    _print(outer, as_json, answer, group_table(answer["groups"], screen()))


@groups.command(epilog=EPILOG)
@config_option
@json_option
@click.argument("group", metavar="NAME|NUMBER")
@click.pass_obj
def show(outer: _Outer, config: str | None, as_json: bool, group: str) -> None:
    """Show one group: its members, what is still to be done at them, and its scenes.

    \b
      atls-gateway groups show living
    """
    found = _one(_ask(outer, config, "groups"), group)
    _print(outer, as_json, found, group_lines(found, screen()))


@groups.command(epilog=EPILOG)
@config_option
@json_option
@click.option("--id", "number", type=click.IntRange(1, 0xFFF7), help="Its number in the network; default: a free one.")
@click.argument("name", metavar="NAME")
@click.pass_obj
def add(outer: _Outer, config: str | None, as_json: bool, number: int | None, name: str) -> None:
    """Make a group without members. Its name is in force at once.

    NAME is a name like a device's, and the topic and path of the group. It is kept in devices.yaml in the state folder;
    one that stands in the policy file (`zigbee_group: "0x0001"`) is taken with its number by --id.

    \b
      atls-gateway groups add living
      atls-gateway groups add living --id 7
    """
    answer = _ask(outer, config, "group-add", name=name, id=number)
    _print(outer, as_json, answer, made_lines(answer))


@groups.command(epilog=EPILOG)
@config_option
@json_option
@click.argument("group", metavar="NAME|NUMBER")
@click.pass_obj
def remove(outer: _Outer, config: str | None, as_json: bool, group: str) -> None:
    """Remove a group with its scenes, and what is bound to it. Its members stay as they are.

    Each member is asked to forget the group; one that sleeps or is off is asked when it is heard.

    \b
      atls-gateway groups remove living
    """
    answer = _ask(outer, config, "group-remove", group=group)
    _print(outer, as_json, answer, removed_lines(answer, group))


@groups.command(epilog=EPILOG)
@config_option
@json_option
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.pass_obj
def rename(outer: _Outer, config: str | None, as_json: bool, old: str, new: str) -> None:
    """Give a group another name. Its members and scenes stay.

    \b
      atls-gateway groups rename living parlour
    """
    answer = _ask(outer, config, "group-rename", **{"from": old, "to": new})
    _print(outer, as_json, answer, [f"group {answer['id']} is {answer['name']}"])


@groups.group(epilog=EPILOG)
def members() -> None:
    """Put devices into a group, and take them out.

    \b
      atls-gateway groups members add living desk
      atls-gateway groups members remove living desk
      atls-gateway groups members clear living
    """


@members.command("add", epilog=EPILOG)
@config_option
@json_option
@_ENDPOINT
@click.argument("group", metavar="GROUP")
@click.argument("device", metavar="DEVICE")
@click.pass_obj
def add_member(outer: _Outer, config: str | None, as_json: bool, endpoint: int | None, group: str, device: str) -> None:
    """Put a device into a group: by its name or its address.

    The device has to confirm it. One that sleeps or is off now does so when it is heard; until then casts do not reach
    it, but the rights to the group are those to this device too. One that has no room for another group is not put in.

    \b
      atls-gateway groups members add living desk
      atls-gateway groups members add hall switch --endpoint 2
    """
    answer = _ask(outer, config, "group-members-add", group=group, device=device, endpoint=endpoint)
    _print(outer, as_json, answer, member_lines(answer))


@members.command("remove", epilog=EPILOG)
@config_option
@json_option
@_ENDPOINT
@click.argument("group", metavar="GROUP")
@click.argument("device", metavar="DEVICE")
@click.pass_obj
def remove_member(
    outer: _Outer, config: str | None, as_json: bool, endpoint: int | None, group: str, device: str
) -> None:
    """Take a device out of a group. Without --endpoint all of its endpoints.

    \b
      atls-gateway groups members remove living desk
    """
    answer = _ask(outer, config, "group-members-remove", group=group, device=device, endpoint=endpoint)
    _print(outer, as_json, answer, removed_lines(answer, f"{answer['device']} in {answer['group']}", out=True))


@members.command("clear", epilog=EPILOG)
@config_option
@json_option
@click.option("--device", metavar="DEVICE", help="In place of GROUP: take this device out of all groups.")
@click.argument("group", metavar="GROUP", required=False)
@click.pass_obj
def clear_members(outer: _Outer, config: str | None, as_json: bool, device: str | None, group: str | None) -> None:
    """Take all devices out of a group, or one device out of all groups.

    \b
      atls-gateway groups members clear living
      atls-gateway groups members clear --device desk
    """
    if (device is None) == (group is None):
        raise click.UsageError("expected either GROUP or --device DEVICE")
    answer = _ask(outer, config, "group-members-clear", group=group, device=device)
    what = f"{device} in all groups" if device is not None else f"all devices in {group}"
    _print(outer, as_json, answer, removed_lines(answer, what, out=True))


@click.group(epilog=EPILOG)
@config_option
@json_option
@click.pass_context
def scenes(context: click.Context, config: str | None, as_json: bool) -> None:
    """Store, recall and remove the scenes of cast groups.

    A scene is what the members of a group are at one moment: each device keeps its own part. To recall it is one
    message to all of them.

    \b
    How the lamps are now is to be `evening`:
      atls-gateway scenes store living evening
    Back to it, within three seconds:
      atls-gateway scenes recall living evening --transition 3
    Over MQTT the same is {"scene_recall": "evening"} on the group's topic, over CoAP a POST to /d/living/scene_recall.
    """
    context.obj = (config, as_json)


@scenes.command("list", epilog=EPILOG)
@config_option
@json_option
@click.argument("group", metavar="GROUP", required=False)
@click.pass_obj
def list_scenes(outer: _Outer, config: str | None, as_json: bool, group: str | None) -> None:
    """List the scenes of one group, or of all.

    \b
      atls-gateway scenes list
      atls-gateway scenes list living --json
    """
    answer = _ask(outer, config, "groups")
    found = answer["groups"] if group is None else [_one(answer, group)]
    _print(
        outer,
        as_json,
        {each["name"] or f"{each['id']}": each["scenes"] for each in found},
        scene_table(found, screen()),
    )


@scenes.command(epilog=EPILOG)
@config_option
@json_option
@click.option("--id", "number", type=click.IntRange(0, 255), help="Its number; default: a free one.")
@click.argument("group", metavar="GROUP")
@click.argument("scene", metavar="NAME")
@click.pass_obj
def store(outer: _Outer, config: str | None, as_json: bool, number: int | None, group: str, scene: str) -> None:
    """Keep how the members of a group are now, under a name. One of the same name is replaced.

    \b
      atls-gateway scenes store living evening
    """
    answer = _ask(outer, config, "scene-store", group=group, name=scene, scene=number)
    _print(outer, as_json, answer, scene_lines(answer, f"scene {answer['name']} ({answer['scene']}) is stored"))


@scenes.command("add", epilog=EPILOG)
@config_option
@json_option
@click.option("--id", "number", type=click.IntRange(0, 255), help="Its number; default: a free one.")
@click.option("--transition", type=click.FloatRange(0, 6000), metavar="SECONDS", help="How long it takes; default 0.")
@click.argument("group", metavar="GROUP")
@click.argument("scene", metavar="NAME")
@click.argument("values", metavar="PROPERTY=VALUE...", nargs=-1, required=True)
@click.pass_obj
def add_scene(
    outer: _Outer,
    config: str | None,
    as_json: bool,
    number: int | None,
    transition: float | None,
    group: str,
    scene: str,
    values: tuple[str, ...],
) -> None:
    """Make a scene of values, whatever the members are now: state, brightness, color_temp (mired), x and y.

    \b
      atls-gateway scenes add living reading state=ON brightness=200
      atls-gateway scenes add living dusk brightness=40 color_temp=400 --transition 3
    """
    given: dict[str, Any] = {}
    for each in values:
        name, sign, value = each.partition("=")
        number_of = {"brightness": int, "color_temp": int, "x": float, "y": float}.get(name, str)
        try:
            given[name] = number_of(value)
        except ValueError:
            raise click.UsageError(f"{each}: expected a number behind =") from None
        if not sign:
            raise click.UsageError(f"{each}: expected PROPERTY=VALUE, such as brightness=40")
    if "x" in given or "y" in given:
        given["color"] = {"x": given.pop("x", None), "y": given.pop("y", None)}
    answer = _ask(
        outer, config, "scene-add", group=group, name=scene, scene=number, transition=transition, values=given
    )
    _print(outer, as_json, answer, scene_lines(answer, f"scene {answer['name']} ({answer['scene']}) is stored"))


@scenes.command(epilog=EPILOG)
@config_option
@json_option
@click.option("--transition", type=click.FloatRange(0, 6553), metavar="SECONDS", help="Default: the scene's own.")
@click.argument("group", metavar="GROUP")
@click.argument("scene", metavar="NAME|NUMBER")
@click.pass_obj
def recall(outer: _Outer, config: str | None, as_json: bool, transition: float | None, group: str, scene: str) -> None:
    """Have the members of a group be as they were when the scene was stored.

    \b
      atls-gateway scenes recall living evening
      atls-gateway scenes recall living evening --transition 3
    """
    answer = _ask(outer, config, "scene-recall", group=group, scene=scene, transition=transition)
    _print(outer, as_json, answer, [f"sent to {answer['group']}: scene {answer['name'] or answer['scene']}"])


@scenes.command("rename", epilog=EPILOG)
@config_option
@json_option
@click.argument("group", metavar="GROUP")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.pass_obj
def rename_scene(outer: _Outer, config: str | None, as_json: bool, group: str, old: str, new: str) -> None:
    """Give a scene another name.

    \b
      atls-gateway scenes rename living evening night
    """
    answer = _ask(outer, config, "scene-rename", group=group, scene=old, name=new)
    _print(outer, as_json, answer, [f"scene {answer['scene']} of {answer['group']} is {answer['name']}"])


@scenes.command("remove", epilog=EPILOG)
@config_option
@json_option
@click.option("--all", "every", is_flag=True, help="All scenes of the group.")
@click.argument("group", metavar="GROUP")
@click.argument("scene", metavar="NAME|NUMBER", required=False)
@click.pass_obj
def remove_scene(outer: _Outer, config: str | None, as_json: bool, every: bool, group: str, scene: str | None) -> None:
    """Remove a scene of a group, or with --all all of them.

    \b
      atls-gateway scenes remove living evening
      atls-gateway scenes remove living --all
    """
    if every == (scene is not None):
        raise click.UsageError("expected either NAME or --all")
    answer = _ask(outer, config, "scene-remove", group=group, scene=scene)
    what = "all scenes are" if every else f"scene {scene} is"
    _print(outer, as_json, answer, scene_lines(answer, f"{what} removed"))


COMMANDS: tuple[click.Command, ...] = (groups, scenes)

"""Planted outside: effects, charges and messages that do not agree with the rows."""

from dataclasses import replace
from uuid import uuid4

from tests.chaos.invariants import Charge
from tests.chaos.planted.scene import EPOCH, NOW, plants


@plants("messages lost without a fault")
def a_message_is_lost_in_peace(scene):
    scene.quiet = [(EPOCH, NOW)]
    return scene.story["unheard_of"]


@plants("succeeded jobs without their effect outside")
def an_effect_never_happened(scene):
    scene.effects = [effect for effect in scene.effects if effect.job != str(scene.story["effect"])]
    return scene.story["effect"]


@plants("effects of nobody, or under another key")
def an_effect_has_another_key(scene):
    scene.effects[0] = replace(scene.effects[0], key="another")
    return scene.effects[0].job


@plants("effects of nobody, or under another key")
def an_effect_comes_from_nobody(scene):
    scene.effects.append(replace(scene.effects[0], token=str(uuid4())))
    return scene.effects[0].job


@plants("effects of nobody, or under another key")
def an_attempt_has_two_effects(scene):
    scene.effects.append(scene.effects[0])
    return scene.effects[0].job


@plants("payments without exactly the charge they tell of")
def a_payment_was_never_charged(scene):
    scene.charges.clear()
    return scene.story["paid"]


@plants("payments without exactly the charge they tell of")
def a_payment_is_charged_twice(scene):
    scene.charges.append(scene.charges[0]._replace(id="ch_again"))
    return scene.story["paid"]


@plants("payments without exactly the charge they tell of")
def a_failed_payment_is_charged(scene):
    scene.charges.append(Charge("ch_secret", scene.story["declined"], 1999, "EUR"))
    return scene.story["declined"]


@plants("payments without exactly the charge they tell of")
def a_payment_takes_too_much(scene):
    scene.charges[0] = scene.charges[0]._replace(amount=2000)
    return scene.story["paid"]


@plants("payments without exactly the charge they tell of")
def nobody_asked_for_a_charge(scene):
    scene.charges.append(Charge("ch_stray", None, 1, "EUR"))
    return "ch_stray"


@plants("messages left in Redis")
def a_message_is_left(scene):
    scene.messages["default"] = 2
    return "default: 2 messages"

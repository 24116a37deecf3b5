"""First names, drawn anew without changing he to she.

Common given names of the United States; left out are names that are also ordinary words or
places (Mark, Will, Bill, Rose, May, June, April, Grace, Hope, Virginia, Austin) and those of both
men and women (Alex, Jordan, Sam, Charlie): they stay as they are.
"""

from __future__ import annotations

import random
import re

_WOMEN = """
Abby Ada Adriana Alexa Alice Alicia Alison Allison Alyssa Amanda Amelia Amy Ana Andrea Angela Anna
Anne Annie Audrey Barbara Becky Beth Betty Brenda Brittany Camila Candice Carla Carmen Carol
Caroline Carolyn Carrie Catherine Cecilia Chloe Christina Cindy Claire Clara Courtney Cynthia
Daisy Danielle Deborah Debra Denise Diana Donna Doris Dorothy Eliza Elizabeth Ella Ellen Ellie
Emily Emma Erica Esther Eva Evelyn Fiona Gina Gloria Hannah Harriet Heather Heidi Helen Isabel
Isabella Jacqueline Jane Janet Janice Jasmine Jenna Jennifer Jenny Jessica Jill Joanna Josephine
Judy Julia Julie Karen Kate Katherine Kathy Katie Kayla Kendra Kimberly Kristen Lara Laura Lauren
Leah Lena Lillian Lily Linda Lisa Lucy Lydia Mackenzie Madeline Maggie Mandy Margaret Maria Marie
Marissa Martha Mary Megan Melanie Melissa Mia Michelle Mila Molly Monica Nancy Naomi Natalie
Nicole Nina Nora Olivia Pamela Patricia Paula Peggy Phoebe Rachel Rebecca Renee Rita Rosa Sally
Samantha Sandra Sara Sarah Sharon Sheila Shelly Sofia Sonia Sophia Sophie Stacy Stella Stephanie
Susan Suzy Tabitha Tamara Tanya Tara Teresa Theresa Tina Toula Valerie Vanessa Vera Veronica Vicky
Victoria Violetta Wendi Wendy Yolanda Zoe
"""
_MEN = """
Aaron Adam Adrian Alan Albert Alejandro Alexander Alfred Alvin Andre Andrew Anthony Antonio Arnold
Arthur Ben Benjamin Bernard Bob Bobby Brad Brandon Brendan Brian Bruce Bryan Calvin Carl Carlos
Charles Christopher Colin Connor Craig Curtis Damian Dan Daniel Darren Darrell Dave David Dennis
Derek Diego Dominic Donald Doug Douglas Duncan Dylan Eddie Edgar Edward Edwin Eli Elijah Eric
Ernest Ethan Eugene Evan Felix Fernando Fred Gabriel Gary George Gerald Gordon Greg Gregory Harold
Harry Harvey Hector Henry Herbert Howard Hugh Hugo Ian Isaac Ivan Jacob Jake James Jared Jason
Javier Jeff Jeffrey Jeremy Jerry Jim Jimmy Joe Joel John Johnny Jonah Jonathan Jose Joseph Josh
Joshua Juan Julian Justin Keith Ken Kenneth Kevin Kyle Kylar Lance Larry Leo Leon Leonard Liam
Logan Lorenzo Louis Lucas Luis Luke Malcolm Manny Marcus Mario Martin Marvin Mathew Matt Matthew
Melvin Michael Micah Miguel Mike Mitch Mitchell Nathan Ned Neil Nicholas Nick Noah Norman Oliver
Oscar Owen Patrick Paul Pedro Pete Peter Phil Philip Ralph Ramon Randy Raul Raymond Reggie Ricardo
Richard Rick Robert Roberto Rodney Roger Roland Ronald Ross Roy Ruben Russell Ryan Samuel Scott
Sean Seth Shawn Simon Stanley Stephen Steve Steven Stuart Ted Terrence Theodore Thomas Tim Timothy
Toby Todd Tom Tommy Tony Travis Trevor Troy Tyler Victor Vincent Vince Walter Warren Wayne Wesley
William Zach Zachary
"""
WOMEN, MEN = tuple(_WOMEN.split()), tuple(_MEN.split())
_NAME = re.compile(r"\b(?:" + "|".join(sorted((*WOMEN, *MEN), key=len, reverse=True)) + r")\b")


def names_in(text: str) -> list[str]:
    """The names of the lists that stand in a text, each once, in order of appearance."""
    return list(dict.fromkeys(match.group() for match in _NAME.finditer(text)))


def draw_names(present: list[str], random_state: random.Random) -> dict[str, str]:
    """A new name, of the same list, for each name present; no name is used twice or kept."""
    drawn: dict[str, str] = {}
    for name in present:
        group = WOMEN if name in WOMEN else MEN
        free = [n for n in group if n not in present and n not in drawn.values()]
        drawn[name] = random_state.choice(free)
    return drawn


def replace_names(text: str, drawn: dict[str, str]) -> str:
    """All names exchanged at once."""
    return _NAME.sub(lambda match: drawn.get(match.group(), match.group()), text)

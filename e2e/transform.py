"""Prints a SAM template after SAM's transform, as CloudFormation receives it, as JSON."""

import json
import sys

import boto3
from samcli.lib.translate.sam_template_validator import SamTemplateValidator
from samcli.yamlhelper import yaml_parse
from samtranslator.translator.managed_policy_translator import ManagedPolicyLoader


class NoPolicies(ManagedPolicyLoader):
    """The template uses no managed policies, and fetching AWS's list of them requires an account."""

    def __init__(self):
        super().__init__(None)

    def load(self):
        return {}


template_file, *overrides = sys.argv[1:]
with open(template_file) as file:
    template = yaml_parse(file.read())
parameters = dict(override.split("=", 1) for override in overrides)
boto3.setup_default_session(region_name="eu-west-1")
validator = SamTemplateValidator(template, NoPolicies(), region="eu-west-1", parameter_overrides=parameters)
transformed = yaml_parse(validator.get_translated_template_if_valid())
json.dump(transformed, sys.stdout, indent=1)

"""The tour: from nothing to invoices in a connected business, over real gRPC. Run it with `make demo`.

Each step prints what it does. The sandbox is a process of its own, and ends with the tour; nothing is left behind.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from invora_grpc import FailedPrecondition, Invora, RequestError, to_decimal, to_python

START = time.monotonic()
LOCAL_TOOLS = Path(sys.executable).parent


def step(title: str) -> None:
    """Begin a step of the tour."""
    print(f"\n[{time.monotonic() - START:5.1f} s] {title}", flush=True)


def say(text: object) -> None:
    """One line of a step."""
    print(f"          {text}", flush=True)


@contextmanager
def sandbox() -> Iterator[dict[str, str]]:
    """A sandbox process on free ports; yields what its ready file says."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder, "ready.json")
        command = [sys.executable, "-m", "invora_grpc.cli", "sandbox", "--grpc-port", "0", "--http-port", "0"]
        command += ["--seed", "empty", "--data", str(Path(folder, "state.sqlite")), "--ready-file", str(ready)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not ready.exists():
                if process.poll() is not None:
                    sys.exit("the sandbox did not start; its message is above")
                time.sleep(0.05)
            yield json.loads(ready.read_text())
        finally:
            process.terminate()
            process.wait()


def discover(gateway: str) -> None:
    """Ask the server what it serves, with the real grpcurl, by reflection."""
    command = [LOCAL_TOOLS / "grpcurl", "-plaintext", gateway, "list"]
    services = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    say(f"$ grpcurl -plaintext {gateway} list")
    say(f"{len(services)} services, among them:")
    for name in services:
        if ".simple." in name or "Registration" in name:
            say(f"  {name}")


def register(client: Invora) -> None:
    """Complete the profile and become a platform."""
    registration = client.identity.public_registration
    profile = registration.complete_business_profile(
        business_name="Demo Platform", country="SA", capabilities=["einvoicing", "billing"]
    )
    say(f"{profile.business_name} is organization {profile.tenant_id}")
    say(f"client {profile.client_id} with a secret of {len(profile.client_secret)} characters, shown this once")
    registration.update_business_details(
        tax_id="300000000000003",
        address_line="King Fahd Road",
        city="Riyadh",
        postal_code="11564",
        country="SA",
        currency="SAR",
        timezone="Asia/Riyadh",
    )
    plan = registration.list_available_plans().plans[-1]
    checklist = registration.select_plan(plan_code=plan.code).checklist
    done = [item.key for item in checklist.steps if item.completed]
    say(f"plan {plan.code}; checklist {checklist.completion_ratio:.0%}: {', '.join(done)}")
    application = client.identity.platform_enrollment.submit_platform_application(
        input={
            "reason": "We invoice on behalf of our members",
            "expected_connected_businesses": 3,
            "expected_monthly_volume": 1000,
            "technical_contact_email": "tech@demo.example",
            "terms_accepted": True,
        }
    ).application
    say(f"platform application: {to_python(application)['decision']}")


def invoice(number: int, price: str) -> dict[str, Any]:
    """The fields of one invoice. Decimals are exact; a float would be refused."""
    return {
        "currency_code": "SAR",
        "supply_date": "2026-06-12",
        "buyer": {"party_key": "acme"},
        "lines": [
            {
                "description": f"Consulting, part {number}",
                "quantity": {"value": 3, "unit_code": "HUR"},
                "unit_price": Decimal(price),
                "tax": {"tax_rate": 15},
            }
        ],
    }


def main() -> None:
    """The whole tour."""
    step("Start a sandbox: a gRPC gateway and an identity provider, on this machine")
    with sandbox() as ready:
        say(f"gateway {ready['grpc']}, issuer {ready['issuer']}")

        step("Discover the gateway by server reflection")
        discover(ready["grpc"])

        step("Sign in: OIDC discovery and client credentials; the token is fetched by the first call")
        settings = {"endpoint": f"http://{ready['grpc']}", "issuer": ready["issuer"]}
        with Invora(
            "sandbox", **settings, client_id=ready["client_id"], client_secret=ready["client_secret"]
        ) as client:
            say(client)

            step("Register the business")
            register(client)

            step("Create a connected business: a tenant of its own")
            created = client.identity.connected_business.create_connected_business(
                name="Acme Riyadh", admin_email="admin@acme.example"
            )
            tenant = created.connected_business.tenant_id
            say(f"{created.connected_business.name} is {tenant}; its own client id is {created.client_id}")

            acme = client.for_org(tenant)
            step(f"Act in it: {acme}")
            party = acme.invoicing.parties.create(
                key="acme",
                changes={
                    "name": {"assignments": [{"locale": "en", "value": "Acme Trading"}]},
                    "role": "customer",
                    "details": {"party_legal_entity": [{"registration_name": {"value": "Acme Trading LLC"}}]},
                },
            ).details
            say(f"party {party.id.key}: {party.name.value.value}")
            for number, price in enumerate(("199.90", "20.50", "0.335"), 1):
                draft = acme.simple.invoices.create(key=f"order-{number}", changes=invoice(number, price)).details
                totals = draft.calculations
                say(
                    f"invoice {draft.id.key}: 3 × {price} → net {to_decimal(totals.tax_exclusive_amount):.2f}, "
                    f"tax {to_decimal(totals.tax_amount):.2f}, payable {to_decimal(totals.payable_amount):.2f} SAR"
                )

            step("Onboard it with the tax authority: a stream of steps")
            with acme.invoicing.zatca.initiate_onboarding(otp="123456", environment="PHASE2_SANDBOX") as steps:
                for done in steps:
                    say(done.message)

            step("Freeze one: it gets its number, its stamp and is final")
            stamp = acme.simple.invoices.get(key="order-1").details.concurrency_stamp
            frozen = acme.simple.invoices.freeze(key="order-1", concurrency_stamp=stamp).details
            zatca = frozen.zatca
            say(f"{frozen.number}, counter {zatca.invoice_counter_value}, QR of {len(zatca.qr_code)} characters")

            step("List, two at a time, the dearest first")
            cursor, page = None, 0
            while True:
                pagination = {"limit": 2} | ({"cursor": cursor} if cursor else {})
                sort = {"rules": [{"payable_amount": "descending"}]}
                answer = acme.simple.invoices.list(sort=sort, pagination=pagination)
                page += 1
                keys = ", ".join(f"{i.id.key} ({to_decimal(i.payable_amount):.2f})" for i in answer.items)
                say(f"page {page} of {answer.total_count} invoices: {keys}")
                cursor = answer.next_page_cursor
                if not cursor:
                    break

            step("Two errors, on purpose")
            try:
                acme.simple.invoices.delete(keys=["order-1"])
            except FailedPrecondition as error:
                say(f"the server refused: {error}")
            try:
                acme.simple.invoices.create(changes={"lines": [{"unit_price": 20.5}]})
            except RequestError as error:
                say(f"nothing was sent: {error}")

            step("Tenants do not mix")
            say(f"the platform's own invoices: {client.simple.invoices.list().total_count}")
            own = {"client_id": created.client_id, "client_secret": created.client_secret}
            with Invora("sandbox", **settings, **own) as business:
                say(f"what Acme Riyadh sees with its own credentials: {business.simple.invoices.list().total_count}")
    step("Done")


if __name__ == "__main__":
    main()

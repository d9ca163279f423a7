import subprocess
import sys


def test_networks_losses_and_distributions_import_without_lightning():
    code = (
        "import sys, lit_gen.networks, lit_gen.losses, lit_gen.distributions;"
        "print([name for name in sys.modules if 'lightning' in name or 'jsonargparse' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

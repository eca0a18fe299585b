"""Certificates that a test run makes for itself."""
import subprocess


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Authority:
    """Signs certificates; each is a pair of files, the certificate and its key."""

    def __init__(self, directory, name):
        self.directory, self.name = directory, name
        self.certificate, self.key = self.files(name)
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", f"/CN={name}", "-keyout", self.key, "-out",
                self.certificate, "-addext", "basicConstraints=critical,CA:TRUE")

    def files(self, name):
        return str(self.directory / f"{name}.pem"), str(self.directory / f"{name}.key")

    def sign(self, name, usage, days=2):
        """A certificate for `usage`: serverAuth or clientAuth."""
        certificate, key = self.files(name)
        request, extensions = f"{certificate}.csr", f"{certificate}.ext"
        with open(extensions, "w", encoding="ascii") as file:
            file.write(f"extendedKeyUsage={usage}\n"
                       "subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                f"/CN={name}", "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key,
                "-CAcreateserial", "-days", str(days), "-extfile", extensions, "-out", certificate)
        return certificate, key

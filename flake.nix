{
  # A host shell for people who use Nix. It only provides what README's apt line provides on Debian; every byte of the
  # image comes from image.lock, so the image is the same with and without it.
  description = "Vitrine: host shell";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/c5ae371f1a6a7fd27823bc500d9390b38c05fa55";

  outputs =
    { self, nixpkgs }:
    let
      system = "x86_64-linux";
      pkgs = nixpkgs.legacyPackages.${system};
    in
    {
      devShells.${system}.default = pkgs.mkShell {
        packages = [
          pkgs.rustup # so that rust-toolchain.toml decides
          pkgs.gcc
          pkgs.git
          pkgs.shadow # newuidmap, newgidmap
          pkgs.cacert
        ];
        SSL_CERT_FILE = "${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt";
      };
    };
}

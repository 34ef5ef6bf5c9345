// What the test programs of the core share: which instruction sets to test, and a count of failures.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "lichen/cpu.h"

namespace lichen {

// Those named on the command line; all that this machine has when none is. Prints what it has.
inline std::vector<Isa> chosen_isas(int argc, char** argv) {
  std::printf("supported:");
  for (Isa isa : supported_isas()) std::printf(" %s", std::string(isa_name(isa)).c_str());
  std::printf("\n");
  std::vector<Isa> chosen;
  for (int i = 1; i < argc; ++i) {
    const auto isa = parse_isa(argv[i]);
    bool found = false;
    for (Isa supported : supported_isas()) found = found || isa == supported;
    if (!found) {
      std::printf("this machine cannot run '%s'\n", argv[i]);
      std::exit(2);
    }
    chosen.push_back(*isa);
  }
  return chosen.empty() ? supported_isas() : chosen;
}

// Counts what does not hold, and says so.
class Checks {
 public:
  void expect(bool holds, const std::string& what) {
    ++made_;
    if (holds) return;
    ++failed_;
    std::printf("failed: %s\n", what.c_str());
  }
  // The exit code.
  int finish() const {
    std::printf("%d checks, %d failures\n", made_, failed_);
    return failed_ != 0 || made_ == 0;
  }

 private:
  int made_ = 0, failed_ = 0;
};

}  // namespace lichen

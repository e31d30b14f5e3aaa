// The fuzz target without libFuzzer, for compilers that have none: replay [RANDOM_INPUTS] FILE...
// runs the files and as many random inputs, the same ones each time.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size);

int main(int count, char** arguments) {
    if (count < 2) {
        std::fprintf(stderr, "usage: %s RANDOM_INPUTS FILE...\n", arguments[0]);
        return 2;
    }
    for (int i = 2; i < count; ++i) {
        std::ifstream file(arguments[i], std::ios::binary);
        const std::vector<unsigned char> bytes{std::istreambuf_iterator<char>(file), {}};
        if (file.bad() || !file.is_open()) {
            std::fprintf(stderr, "cannot read %s\n", arguments[i]);
            return 2;
        }
        LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    }
    std::mt19937 random(20240229);
    const int inputs = std::atoi(arguments[1]);
    for (int i = 0; i < inputs; ++i) {
        std::vector<unsigned char> bytes(random() % 400);
        for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(random() >> 9);
        LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    }
    std::printf("%d files, %d random inputs: no difference\n", count - 2, inputs);
}

// Calls between a C++ program and its test, which are two processes: plain data as bytes over descriptor 3.
//
// A test's process holds no line of the program. It rebuilds an answer as the type that the prompt declares; every length is
// checked against the bytes that came, so hostile ones can at most be Malformed. Numbers, strings, pairs, tuples, optionals and
// the standard containers of them cross; any other type does not compile.
#pragma once
#include <assert.h>
#include <bits/stdc++.h>
#include <unistd.h>

namespace codeparrot {

constexpr int channel = 3;
constexpr std::size_t most_bytes = std::size_t(1) << 23;
enum Ending { failed = 10, error = 11, gone = 12, out_of_memory = 13 };

struct Malformed {};

inline bool write_all(const char *data, std::size_t length) {
    while (length > 0) {
        const ssize_t count = ::write(channel, data, length);
        if (count <= 0) return false;
        data += count;
        length -= std::size_t(count);
    }
    return true;
}

inline bool read_all(char *data, std::size_t length) {
    while (length > 0) {
        const ssize_t count = ::read(channel, data, length);
        if (count <= 0) return false;
        data += count;
        length -= std::size_t(count);
    }
    return true;
}

// A frame is a four-byte length and a message, whose first letter says of what kind it is.
inline bool send(const std::string &message) {
    const std::uint32_t length = std::uint32_t(message.size());
    return message.size() <= most_bytes && write_all(reinterpret_cast<const char *>(&length), sizeof length) &&
           write_all(message.data(), message.size());
}

inline bool receive(std::string &message) {
    std::uint32_t length = 0;
    if (!read_all(reinterpret_cast<char *>(&length), sizeof length) || length < 1 || length > most_bytes) return false;
    message.resize(length);
    return read_all(&message[0], length);
}

template <class T, template <class...> class C> struct is_a : std::false_type {};
template <class... T, template <class...> class C> struct is_a<C<T...>, C> : std::true_type {};
template <class T> struct is_array : std::false_type {};
template <class T, std::size_t N> struct is_array<std::array<T, N>> : std::true_type {};

template <class T>
constexpr bool is_list = is_a<T, std::vector>::value || is_a<T, std::list>::value || is_a<T, std::deque>::value;
template <class T>
constexpr bool is_set = is_a<T, std::set>::value || is_a<T, std::multiset>::value || is_a<T, std::unordered_set>::value ||
                        is_a<T, std::unordered_multiset>::value;
template <class T>
constexpr bool is_map = is_a<T, std::map>::value || is_a<T, std::multimap>::value || is_a<T, std::unordered_map>::value ||
                        is_a<T, std::unordered_multimap>::value;
template <class T> constexpr bool is_tuple = is_a<T, std::tuple>::value || is_a<T, std::pair>::value;

template <class T> void put(std::string &out, const T &value) {
    if constexpr (std::is_same_v<T, bool>) {
        out.push_back(value ? 1 : 0);
    } else if constexpr (std::is_arithmetic_v<T>) {
        out.append(reinterpret_cast<const char *>(&value), sizeof value);
    } else if constexpr (std::is_same_v<T, std::string>) {
        put(out, std::uint64_t(value.size()));
        out.append(value);
    } else if constexpr (is_list<T> || is_set<T>) {
        put(out, std::uint64_t(value.size()));
        for (const typename T::value_type &each : value) put(out, each);
    } else if constexpr (is_map<T>) {
        put(out, std::uint64_t(value.size()));
        for (const auto &each : value) {
            put(out, each.first);
            put(out, each.second);
        }
    } else if constexpr (is_array<T>::value) {
        for (const auto &each : value) put(out, each);
    } else if constexpr (is_tuple<T>) {
        std::apply([&](const auto &...each) { (put(out, each), ...); }, value);
    } else if constexpr (is_a<T, std::optional>::value) {
        put(out, value.has_value());
        if (value.has_value()) put(out, *value);
    } else {
        static_assert(!sizeof(T), "this type is not plain data");
    }
}

struct Reader {
    const std::string &data;
    std::size_t at;

    const char *take(std::size_t length) {
        if (length > data.size() - at) throw Malformed();
        const char *found = data.data() + at;
        at += length;
        return found;
    }
};

template <class T> T get(Reader &in);

// Each item has at least a byte, but for empty tuples, of which nothing needs many.
inline std::size_t count(Reader &in) {
    const std::uint64_t number = get<std::uint64_t>(in);
    if (number > in.data.size() - in.at) throw Malformed();
    return std::size_t(number);
}

template <class T, std::size_t... I> T items(Reader &in, std::index_sequence<I...>) {
    // Braces fix the order.
    return T{get<std::decay_t<std::tuple_element_t<I, T>>>(in)...};
}

template <class T> T get(Reader &in) {
    if constexpr (std::is_same_v<T, bool>) {
        return *in.take(1) != 0;
    } else if constexpr (std::is_arithmetic_v<T>) {
        T value;
        std::memcpy(&value, in.take(sizeof value), sizeof value);
        return value;
    } else if constexpr (std::is_same_v<T, std::string>) {
        const std::size_t length = count(in);
        return std::string(in.take(length), length);
    } else if constexpr (is_list<T>) {
        T value;
        for (std::size_t left = count(in); left > 0; --left) value.push_back(get<typename T::value_type>(in));
        return value;
    } else if constexpr (is_set<T>) {
        T value;
        for (std::size_t left = count(in); left > 0; --left) value.insert(get<typename T::value_type>(in));
        return value;
    } else if constexpr (is_map<T>) {
        T value;
        for (std::size_t left = count(in); left > 0; --left) {
            auto key = get<typename T::key_type>(in);
            value.emplace(std::move(key), get<typename T::mapped_type>(in));
        }
        return value;
    } else if constexpr (is_array<T>::value) {
        T value;
        for (auto &each : value) each = get<typename T::value_type>(in);
        return value;
    } else if constexpr (is_tuple<T>) {
        return items<T>(in, std::make_index_sequence<std::tuple_size_v<T>>());
    } else if constexpr (is_a<T, std::optional>::value) {
        if (!get<bool>(in)) return std::nullopt;
        return T(get<typename T::value_type>(in));
    } else {
        static_assert(!sizeof(T), "this type is not plain data");
    }
}

// An argument that the program may change: it comes back.
template <class A>
constexpr bool comes_back = std::is_lvalue_reference_v<A> && !std::is_const_v<std::remove_reference_t<A>>;

// In the test: a function that asks the program.
template <class F> struct Remote;
template <class R, class... A> struct Remote<R (*)(A...)> {
    constexpr Remote() {}

    std::decay_t<R> operator()(A... args) const {
        std::string frame = "Q";
        (put<std::decay_t<A>>(frame, args), ...);
        if (!send(frame) || !receive(frame)) stop(gone, "the program ended");
        if (frame[0] == 'M') stop(out_of_memory, "bad_alloc");
        if (frame[0] == 'E') stop(error, frame.substr(1, 300));
        if (frame[0] != 'V') stop(error, "the program's answer is not plain data");
        try {
            Reader in{frame, 1};
            if constexpr (std::is_void_v<R>) {
                (back<A>(in, args), ...);
            } else {
                auto value = get<std::decay_t<R>>(in);
                (back<A>(in, args), ...);
                return value;
            }
        } catch (const Malformed &) {
            stop(error, "the program's answer is not plain data");
        }
    }

  private:
    template <class A1> static void back(Reader &in, A1 &arg) {
        if constexpr (comes_back<A1>) arg = get<std::decay_t<A1>>(in);
        (void)in;
        (void)arg;
    }

    [[noreturn]] static void stop(Ending ending, const std::string &why) {
        if (::write(2, why.data(), why.size()) < 0) ::_exit(error);
        ::_exit(ending);
    }
};

template <class A> void put_back(std::string &out, const std::decay_t<A> &arg) {
    if constexpr (comes_back<A>) put(out, arg);
    (void)out;
    (void)arg;
}

// In the program: answer calls until the test is done. Nothing here decides anything.
template <class R, class... A> int serve(R (*function)(A...)) {
    std::string frame = "R";
    send(frame);
    while (receive(frame)) {
        std::string answer = "V";
        try {
            Reader in{frame, 1};
            std::tuple<std::decay_t<A>...> args{get<std::decay_t<A>>(in)...};
            if constexpr (std::is_void_v<R>) {
                std::apply(function, args);
            } else {
                put<std::decay_t<R>>(answer, std::apply(function, args));
            }
            std::apply([&](const auto &...each) { (put_back<A>(answer, each), ...); }, args);
        } catch (const std::bad_alloc &) {
            answer = "M";
        } catch (const std::exception &thrown) {
            answer = std::string("E" "the program threw: ") + thrown.what();
        } catch (...) {
            answer = "E" "the program threw";
        }
        send(answer.size() <= most_bytes ? answer : "E" "the answer is too large");
    }
    return 0;
}

} // namespace codeparrot

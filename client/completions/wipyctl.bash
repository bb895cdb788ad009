# bash completion for wipyctl: `wipyctl __complete` knows what may stand where the cursor is.

_wipyctl() {
    local rest=${COMP_LINE:0:COMP_POINT} words=() piece i cur kept line
    COMPREPLY=()

    # bash has cut the line at ':' and '=' too, which MACs, slots and options have within: join them again.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        piece=${COMP_WORDS[i]}
        if [[ $i == 0 || $rest == [[:space:]]* ]]; then
            rest=${rest#"${rest%%[![:space:]]*}"}
            words+=("")
        fi
        if ((i == COMP_CWORD)); then
            piece=$rest
        fi
        words[-1]+=$piece
        rest=${rest#"$piece"}
    done
    for i in "${!words[@]}"; do
        words[i]=${words[i]//[\\\"\']/}
    done
    cur=${words[-1]}

    # What is before the last cut stays on the line as it is.
    kept=${cur%"${cur##*[:=]}"}
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            compopt -o filenames 2>/dev/null
            while IFS= read -r line; do
                COMPREPLY+=("$line")
            done < <(compgen -f -- "${cur#"$kept"}")
            continue
        elif [[ $line == :commands ]]; then
            while IFS= read -r line; do
                COMPREPLY+=("$line")
            done < <(compgen -c -- "${cur#"$kept"}" | sort -u)
            continue
        fi
        line=${line%%$'\t'*}
        if [[ $line == "$cur"* ]]; then
            [[ $line != *= ]] || compopt -o nospace 2>/dev/null
            line=${line#"$kept"}
            [[ $line != *[[:space:]\'\"\\\&\;\(\)\<\>\|\$\`\*\?]* ]] || printf -v line %q "$line"
            COMPREPLY+=("$line")
        fi
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
}

complete -F _wipyctl wipyctl
